package apply_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
)

func TestMain(m *testing.M) { cluster.Run(m) }

// agent is how the operator calls itself to the API server.
const agent = "broletto"

var operator struct {
	once sync.Once
	ctrl.Manager
}

// applier writes as the operator does: with its account, its cache and its clients, which the manager of the real process makes.
// With no tenant and no workspace about, its controllers have nothing to do.
func applier(t *testing.T) *apply.Applier {
	t.Helper()
	operator.once.Do(func() {
		ctrl.SetLogger(logr.Discard())
		mgr, err := manager.New(cluster.Operator(t), manager.Options{Namespace: "broletto-system", MetricsAddress: "0", ProbeAddress: "0"})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = mgr.Start(context.Background()) }() // it ends with the test binary
		operator.Manager = mgr
	})
	if operator.Manager == nil || !operator.GetCache().WaitForCacheSync(t.Context()) {
		t.Fatal("there is no manager to test with")
	}
	c := client.WithFieldOwner(operator.GetClient(), apply.FieldManager)
	return &apply.Applier{Client: c, Live: operator.GetAPIReader()}
}

var people struct {
	once sync.Once
	client.Client
}

// admin may do everything, as those who change things by hand.
func admin(t *testing.T) client.Client {
	t.Helper()
	people.once.Do(func() { people.Client = cluster.Client(t, cluster.Admin()) })
	return people.Client
}

// converge brings a set to its desired state and tells what had drifted. The controllers of Kubernetes write too: as in the
// operator, a conflict is tried again.
func converge(t *testing.T, a *apply.Applier, set apply.Set) (drifted []string) {
	t.Helper()
	for tries := 0; ; tries++ {
		refs, err := a.Sync(t.Context(), set)
		for _, ref := range refs {
			drifted = append(drifted, ref.Kind+"/"+ref.Name)
		}
		if apierrors.IsConflict(err) && tries < 5 {
			continue
		}
		if err != nil {
			t.Fatalf("sync of %s: %v", *set.Root.GetName(), err)
		}
		return drifted
	}
}

// asked is what the operator asked of the API server since a mark, watches left out.
func asked(t *testing.T, mark int) []kube.AuditEvent {
	t.Helper()
	return slices.DeleteFunc(cluster.Since(t, mark), func(e kube.AuditEvent) bool { return e.UserAgent != agent || e.Verb == "watch" })
}

func lines(requests []kube.AuditEvent) string {
	var out []string
	for _, e := range requests {
		out = append(out, fmt.Sprintf("%s %s %d", e.Verb, e.RequestURI, e.Code))
	}
	return strings.Join(out, "\n")
}

func mutating(requests []kube.AuditEvent) []kube.AuditEvent {
	return slices.DeleteFunc(slices.Clone(requests), func(e kube.AuditEvent) bool { return !e.Mutating() })
}

// snapshot is every object of a namespace of the kinds that sets hold, and the namespace, by "Kind/name" as JSON without what
// the server adds. The name of the namespace is replaced, so that two namespaces can be compared.
func snapshot(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range everything(t, namespace) {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
		out[strings.ReplaceAll(kind+"/"+o.GetName(), namespace, "NS")] = strings.ReplaceAll(content(t, o), namespace, "NS")
	}
	return out
}

// content is an object as JSON without what the server adds, and without the digest, which the namespace's name goes into.
func content(t *testing.T, o client.Object) string {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "namespace"} {
		unstructured.RemoveNestedField(fields, "metadata", field)
	}
	unstructured.RemoveNestedField(fields, "metadata", "annotations", "broletto.dev/applied")
	delete(fields, "status")
	text, err := json.MarshalIndent(fields, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// everything is the namespace and each object in it of the kinds that sets hold.
func everything(t *testing.T, namespace string) (out []client.Object) {
	t.Helper()
	c, ns := admin(t), &corev1.Namespace{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		t.Fatal(err)
	}
	out = append(out, ns)
	for _, list := range []client.ObjectList{
		&corev1.ServiceAccountList{}, &corev1.ResourceQuotaList{}, &corev1.LimitRangeList{}, &corev1.PersistentVolumeClaimList{},
		&networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{},
	} {
		if err := c.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			out = append(out, o.(client.Object))
		}
	}
	return out
}

// seen waits until the operator's cache holds an object as the API server has it, or has lost it.
func seen(t *testing.T, a *apply.Applier, live client.Object) {
	t.Helper()
	key, c := client.ObjectKeyFromObject(live), admin(t)
	cluster.Eventually(t, 10*time.Second, "the cache sees a change", func() error {
		cached := live.DeepCopyObject().(client.Object)
		real := c.Get(t.Context(), key, live)
		err := a.Client.Get(t.Context(), key, cached)
		gone := apierrors.IsNotFound(real) || live.GetLabels()["broletto.dev/owner"] == ""
		switch {
		case real != nil && !apierrors.IsNotFound(real):
			return real
		case apierrors.IsNotFound(err) && gone:
			return nil
		case err != nil:
			return err
		case cached.GetResourceVersion() != live.GetResourceVersion():
			return fmt.Errorf("cached %s, stored %s", cached.GetResourceVersion(), live.GetResourceVersion())
		}
		return nil
	})
}
