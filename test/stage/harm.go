package stage

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Harm is what somebody does to an object of ours, and why it must not last.
type Harm struct {
	Reason string
	Object client.Object
	Do     func(*Stage)
}

// Changed is the harm of a merge patch.
func Changed(reason string, o client.Object, patch string) Harm {
	return Harm{Reason: reason, Object: o, Do: func(s *Stage) {
		s.Helper()
		if err := s.Admin.Patch(s.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			s.Fatal(err)
		}
	}}
}

// Deleted is the harm of a deletion.
func Deleted(reason string, o client.Object) Harm {
	return Harm{Reason: reason, Object: o, Do: func(s *Stage) {
		s.Helper()
		s.Remove(o.DeepCopyObject().(client.Object))
	}}
}

// Repaired is the event of a harm in a namespace that was put right.
func (s *Stage) Repaired(h Harm, namespace string) string {
	s.Helper()
	kind, err := s.Admin.GroupVersionKindFor(h.Object)
	if err != nil {
		s.Fatal(err)
	}
	return "Warning DriftRepaired " + kind.Kind + " " + h.Object.GetName() + " in " + namespace + " was changed or deleted; it is as it should be again"
}
