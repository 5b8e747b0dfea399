package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/quota"
	"github.com/broletto/broletto/test/cluster"
)

// circumstances are what stands in a case beside manifests. Who of the other workspaces in it consents is found out from them.
type circumstances struct {
	Kind      string   `json:"kind"`
	Sample    string   `json:"sample"`    // a folder of config/samples
	Workspace string   `json:"workspace"` // of the case's workspaces the one to build, as "tenant/name"
	Suspended bool     `json:"suspended"` // no new pods
	Ended     bool     `json:"ended"`     // no membership covers today
	Deleting  bool     `json:"deleting"`  // the workspace is being deleted
	Claims    []string `json:"claims"`    // claims that exist
}

// input is what a case asks to be built. The ledger has granted what was asked.
func input(t *testing.T, folder string) (*v1alpha1.Workspace, Context) {
	t.Helper()
	var with circumstances
	var consortium *v1alpha1.Consortium
	var w *v1alpha1.Workspace
	tenants, others := map[string]*v1alpha1.Tenant{}, []*v1alpha1.Workspace{}
	for _, o := range documents(t, folder, &with) {
		switch o.GetKind() {
		case "Consortium":
			consortium = defaulted[v1alpha1.Consortium](t, o)
		case "Tenant":
			tenants[o.GetName()] = defaulted[v1alpha1.Tenant](t, o)
		case "Workspace":
			others = append(others, defaulted[v1alpha1.Workspace](t, o))
		}
	}
	for _, o := range others {
		if with.Workspace == "" || with.Workspace == o.Namespace+"/"+o.Name {
			w = o
			break
		}
	}
	if w == nil || consortium == nil || tenants[w.Namespace] == nil {
		t.Fatal("the case lacks its consortium, its tenant or its workspace")
	}
	w.UID = types.UID("uid-of-" + w.Name)
	if with.Deleting {
		w.DeletionTimestamp = &metav1.Time{}
		*w.DeletionTimestamp = metav1.Now()
	}
	c := Context{
		Consortium: consortium, Tenant: tenants[w.Namespace], Member: !with.Ended, Suspended: with.Suspended || with.Ended, Claims: with.Claims,
		Granted: quota.Request(consortium.Spec.Defaults.Workspace.Quota, tenants[w.Namespace], w), Hosts: w.Spec.Network.Hosts,
	}
	c.Callers, c.Called = consents(w, others)
	return w, c
}

func consents(w *v1alpha1.Workspace, others []*v1alpha1.Workspace) (callers, called []Peer) {
	self := Peer{Tenant: w.Namespace, Workspace: w.Name}
	for _, o := range others {
		peer := Peer{Tenant: o.Namespace, Workspace: o.Name}
		if names(o, o.Spec.Network.ConnectTo, self) {
			callers = append(callers, peer)
		}
		if names(o, o.Spec.Network.AllowFrom, self) {
			called = append(called, peer)
		}
	}
	return callers, called
}

func TestDesired(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		w, c := input(t, folder)
		golden(t, folder+"/out.yaml", manifests(t, Desired(w, c)))
	})
}

// TestDesiredIsPure builds every case twice, the second time from lists in another order: the same bytes, and nothing built twice.
func TestDesiredIsPure(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		w, c := input(t, folder)
		set := Desired(w, c)
		first := manifests(t, set)
		if manifests(t, Desired(w, c)) != first {
			t.Error("the same manifest twice gives two results")
		}
		w, c = input(t, folder)
		slices.Reverse(c.Callers)
		slices.Reverse(c.Called)
		slices.Reverse(c.Claims)
		slices.Reverse(c.Hosts)
		slices.Reverse(w.Spec.Network.AllowFrom)
		slices.Reverse(w.Spec.Network.ConnectTo)
		slices.Reverse(w.Spec.Access)
		for i := range w.Spec.Network.Egress {
			slices.Reverse(w.Spec.Network.Egress[i].Ports)
		}
		if manifests(t, Desired(w, c)) != first {
			t.Error("the order of a set matters")
		}
		sent(t, set)
	})
}

// TestAfterExpiry takes only pods away: rights, rules and volumes of an expired workspace are those of before.
func TestAfterExpiry(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		w, c := input(t, folder)
		c.Suspended = false
		before := strings.Split(manifests(t, Desired(w, c)), "---\n")
		c.Suspended = true
		for i, after := range strings.Split(manifests(t, Desired(w, c)), "---\n") {
			if after != before[i] && !strings.Contains(after, "kind: ResourceQuota") {
				t.Errorf("suspension changes\n%s", after)
			}
		}
	})
}

// TestWithoutMembership takes rights and pods away, and no volume.
func TestWithoutMembership(t *testing.T) {
	eachCase(t, func(t *testing.T, folder string) {
		w, c := input(t, folder)
		c.Member, c.Suspended = true, false
		before := refs(Desired(w, c))
		c.Member, c.Suspended = false, true
		for _, ref := range refs(Desired(w, c)) {
			if ref.Kind == "RoleBinding" {
				t.Errorf("%v is still there", ref)
			}
		}
		for _, ref := range before {
			if ref.Kind == "PersistentVolumeClaim" && !slices.Contains(refs(Desired(w, c)), ref) {
				t.Errorf("%v is gone, and with it its data", ref)
			}
		}
	})
}

func refs(set apply.Set) (out []apply.Ref) {
	for _, o := range set.Objects {
		out = append(out, apply.Reference(o))
	}
	return out
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
