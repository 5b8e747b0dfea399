package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
)

const (
	// annotationApplied holds a digest of what we applied last. It tells drift (same digest, other content) from a change
	// of mind (another digest), and a field that we no longer want from one that was never ours.
	annotationApplied = "broletto.dev/applied"
	// annotationInventory holds, on the root of a set, a reference to every object of the set.
	annotationInventory = "broletto.dev/inventory"
)

// Object is a typed apply configuration: it says only what we have an opinion on.
type Object interface {
	runtime.ApplyConfiguration
	GetAPIVersion() *string
	GetKind() *string
	GetNamespace() *string
	GetName() *string
}

// Ref names one object within the namespace of its set. Its text is "Kind/apiVersion/name".
type Ref struct{ Kind, APIVersion, Name string }

// String is the text of the reference, which parseRef reads.
func (r Ref) String() string { return r.Kind + "/" + r.APIVersion + "/" + r.Name }

// In refers to the object in its namespace. An event that is related to one object is not counted as one about another.
func (r Ref) In(namespace string) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: namespace, Name: r.Name}
}

func (r Ref) gvk() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(r.APIVersion, r.Kind)
}

// Reference returns the reference to an object.
func Reference(o Object) Ref {
	return Ref{Kind: *o.GetKind(), APIVersion: *o.GetAPIVersion(), Name: *o.GetName()}
}

// parseRef reads the text of a reference; neither a kind nor a name contains a slash, an apiVersion may.
func parseRef(text string) (Ref, bool) {
	kind, rest, found := strings.Cut(text, "/")
	slash := strings.LastIndex(rest, "/")
	if !found || slash < 1 || kind == "" || slash == len(rest)-1 {
		return Ref{}, false
	}
	return Ref{Kind: kind, APIVersion: rest[:slash], Name: rest[slash+1:]}, true
}

// desired is an object as we want it: labelled with its owner and annotated with its digest.
type desired struct {
	Ref
	namespace string
	content   map[string]any
}

// stamp turns an apply configuration into what is sent: it adds the owner's label, the annotations given, and the digest of all that.
func stamp(o Object, owner types.UID, annotations map[string]string) (desired, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return desired{}, fmt.Errorf("reading desired %s: %w", Reference(o), err)
	}
	u := unstructured.Unstructured{Object: content}
	u.SetLabels(merged(u.GetLabels(), map[string]string{v1alpha1.LabelOwner: string(owner)}))
	notes := merged(u.GetAnnotations(), annotations)
	u.SetAnnotations(notes)
	text, err := json.Marshal(content) // maps are written in sorted order
	if err != nil {
		return desired{}, fmt.Errorf("reading desired %s: %w", Reference(o), err)
	}
	sum := sha256.Sum256(text)
	u.SetAnnotations(merged(notes, map[string]string{annotationApplied: hex.EncodeToString(sum[:8])}))
	return desired{Ref: Reference(o), namespace: u.GetNamespace(), content: content}, nil
}

func merged(a, b map[string]string) map[string]string {
	out := make(map[string]string, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// sameMind tells whether the object was applied last from the very same desired content.
func (d desired) sameMind(live metav1.Object) bool {
	u := unstructured.Unstructured{Object: d.content}
	return live.GetAnnotations()[annotationApplied] == u.GetAnnotations()[annotationApplied]
}
