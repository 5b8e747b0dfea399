package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/test/cluster"
)

// circumstances are what stands in a case beside manifests.
type circumstances struct {
	Kind   string `json:"kind"`
	Sample string `json:"sample"` // a folder of config/samples
	Tenant string `json:"tenant"` // of the case's tenants the one to build
	Ended  bool   `json:"ended"`  // no membership covers today
}

// input is what a case asks to be built.
func input(t *testing.T, folder string) (*v1alpha1.Tenant, bool) {
	t.Helper()
	var c circumstances
	for _, o := range documents(t, folder, &c) {
		if o.GetKind() == "Tenant" && (c.Tenant == "" || o.GetName() == c.Tenant) {
			tenant := defaulted[v1alpha1.Tenant](t, o)
			tenant.UID = types.UID("uid-of-" + tenant.Name)
			return tenant, !c.Ended
		}
	}
	t.Fatal("the case has no such tenant")
	return nil, false
}

func TestDesired(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		tenant, member := input(t, folder)
		golden(t, folder+"/out.yaml", manifests(t, Desired(tenant, member)))
	})
}

// TestDesiredIsPure builds every case twice: the same bytes, nothing built twice, and the manifest is left as it was.
func TestDesiredIsPure(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		tenant, member := input(t, folder)
		set := Desired(tenant, member)
		other, _ := input(t, folder)
		if manifests(t, set) != manifests(t, Desired(tenant, member)) || manifests(t, set) != manifests(t, Desired(other, member)) {
			t.Error("the same manifest twice gives two results")
		}
		sent(t, set)
	})
}

// recorder is an API server that has nothing and keeps what is sent to it.
type recorder struct {
	client.Client
	created []client.Object
}

func (r *recorder) Scheme() *runtime.Scheme { return cluster.Scheme() }

func (r *recorder) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (r *recorder) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	r.created = append(r.created, o)
	return nil
}

func (r *recorder) Patch(ctx context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	text, err := patch.Data(o)
	if err != nil {
		return err
	}
	return errors.Join(json.Unmarshal(text, o), r.Create(ctx, o))
}

// sent is what would be sent for a set: every object carries the owner's label, and lies in the namespace that the root is.
func sent(t *testing.T, set apply.Set) []client.Object {
	t.Helper()
	r := &recorder{}
	if _, err := (&apply.Applier{Client: r, Live: r}).Sync(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	seen := map[apply.Ref]bool{}
	for _, o := range set.Objects {
		if ref := apply.Reference(o); seen[ref] {
			t.Errorf("two objects are %v", ref)
		}
		seen[apply.Reference(o)] = true
	}
	for i, o := range r.created {
		if o.GetLabels()[v1alpha1.LabelOwner] != string(set.Owner) {
			t.Errorf("%T %s lacks the owner's label", o, o.GetName())
		}
		if _, isRoot := o.(*corev1.Namespace); isRoot != (i == 0) || (i > 0 && o.GetNamespace() != *set.Root.GetName()) {
			t.Errorf("%T %s lies in %q, number %d", o, o.GetName(), o.GetNamespace(), i)
		}
	}
	if len(r.created) != len(set.Objects)+1 {
		t.Errorf("%d objects were sent of %d", len(r.created), len(set.Objects)+1)
	}
	return r.created
}
