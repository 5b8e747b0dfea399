package stage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/test/cluster"
)

// Reconcile looks at one object, once.
func (s *Stage) Reconcile(o client.Object) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(s.Context(), Patience)
	defer cancel()
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)}
	switch o.(type) {
	case *v1alpha1.Consortium:
		return s.consortia.Reconcile(ctx, request)
	case *v1alpha1.Tenant:
		return s.tenants.Reconcile(ctx, request)
	case *v1alpha1.Workspace:
		return s.workspaces.Reconcile(ctx, request)
	}
	for _, j := range s.joined {
		if reflect.TypeOf(j.kind) == reflect.TypeOf(o) {
			return j.by.Reconcile(ctx, request)
		}
	}
	return ctrl.Result{}, fmt.Errorf("no reconciler of %T has joined the stage", o)
}

// round looks at everything of this test once and returns what failed.
func (s *Stage) round() error {
	s.Helper()
	var all []client.Object
	lists := []client.ObjectList{&v1alpha1.ConsortiumList{}, &v1alpha1.TenantList{}, &v1alpha1.WorkspaceList{}}
	for _, j := range s.joined {
		lists = append(lists, j.list.DeepCopyObject().(client.ObjectList))
	}
	for _, list := range lists {
		if err := s.operator.List(s.Context(), list); err != nil { // it waits for all that we wrote
			s.Fatal(err)
		}
		all = append(all, s.mine(list)...)
	}
	var failures []error
	for _, o := range all {
		if _, err := s.Reconcile(o); err != nil {
			failures = append(failures, fmt.Errorf("%T %s: %w", o, client.ObjectKeyFromObject(o), err))
		}
	}
	return errors.Join(failures...)
}

// mine are the objects of a list that belong to this test.
func (s *Stage) mine(list client.ObjectList) (out []client.Object) {
	for _, o := range s.items(list) {
		if strings.HasPrefix(o.GetNamespace()+"/"+o.GetName(), s.ID("")) || strings.HasPrefix(o.GetName(), s.ID("")) {
			out = append(out, o)
		}
	}
	return out
}

// Until looks at everything, again and again as the watches would have it, until f is content. What takes long is looked at less
// often: other tests want the processor too.
func (s *Stage) Until(what string, f func() error) {
	s.Helper()
	var last error
	tries := 0
	cluster.Eventually(s, Patience, what, func() error {
		if tries++; tries < 10 || tries%3 == 0 {
			last = errors.Join(s.round(), f())
		}
		return last
	})
}

// Await brings everything to rest with an object's verdict True, for the reason given, and returns the verdict's message.
func (s *Stage) Await(o condition.Object, verdict, reason string) (message string) {
	s.Helper()
	s.Until(fmt.Sprintf("%s is %s for %s", o.GetName(), verdict, reason), func() (err error) {
		s.Read(o)
		message, err = holds(o, verdict, reason)
		return err
	})
	s.Rest()
	s.Read(o)
	return message
}

// Ready brings everything to rest with all these objects Ready.
func (s *Stage) Ready(objects ...condition.Object) {
	s.Helper()
	for _, o := range objects {
		s.Await(o, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	}
}

// Gone looks at everything until an object is there no more.
func (s *Stage) Gone(o client.Object) {
	s.Helper()
	s.Until(fmt.Sprintf("%T %s is gone", o, o.GetName()), func() error {
		if s.Exists(o) {
			return fmt.Errorf("it is there, deletion asked for at %v", o.GetDeletionTimestamp())
		}
		return nil
	})
	s.CaughtUp(o)
}

// Rest waits until a round writes nothing, and proves that nothing is written from then on. It proves that anew when others have changed something
// since that round began which is to be told.
func (s *Stage) Rest() {
	s.Helper()
	var writes []string
	for range 3 {
		before := s.settle()
		if writes = s.rounds(); len(writes) == 0 {
			return
		}
		if reflect.DeepEqual(before, s.beside()) {
			break
		}
	}
	s.Errorf("a settled state was written to: %s", strings.Join(writes, "; "))
}

// settle waits until a round writes nothing, and returns what was beside when it began.
func (s *Stage) settle() (before []any) {
	s.Helper()
	s.Until("everything is at rest", func() error {
		if err := s.counted(); err != nil { // before the round, which may have to tell of it
			return err
		}
		before = s.beside()
		from := cluster.Mark(s)
		if err := s.round(); err != nil {
			return err
		}
		if writes := s.Writes(from); len(writes) > 0 {
			return fmt.Errorf("still writing: %s", strings.Join(writes, "; "))
		}
		return nil
	})
	return before
}

// rounds makes three, none of which may fail, and returns what they wrote.
func (s *Stage) rounds() (writes []string) {
	s.Helper()
	from := cluster.Mark(s)
	for range 3 {
		if err := s.round(); err != nil {
			s.Error(err)
		}
	}
	return s.Writes(from)
}

// beside is what others change and the operator tells of, as it sees that: what the controller manager counted, and nodes, which other tests make.
func (s *Stage) beside() []any {
	s.Helper()
	var all metav1.PartialObjectMetadataList
	all.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := s.operator.List(s.Context(), &all); err != nil {
		s.Fatal(err)
	}
	nodes := map[string]bool{}
	for _, n := range all.Items {
		nodes[n.Name] = true
	}
	return []any{s.quotas(), nodes}
}

// counted tells whether the controller manager has nothing left to count for this test.
func (s *Stage) counted() error {
	for _, q := range s.quotas() {
		if q.DeletionTimestamp.IsZero() && !guardrail.Counted(q) {
			return fmt.Errorf("the quota of %s is not counted", q.Namespace)
		}
	}
	return nil
}

// quotas are those of this test, as the operator sees them.
func (s *Stage) quotas() (out []*corev1.ResourceQuota) {
	s.Helper()
	var all corev1.ResourceQuotaList
	if err := s.operator.List(s.Context(), &all); err != nil {
		s.Fatal(err)
	}
	for _, o := range s.mine(&all) {
		out = append(out, o.(*corev1.ResourceQuota))
	}
	return out
}

// Writes are the mutating requests of this test's operator since a mark, as "patch resourcequotas lugano/broletto".
func (s *Stage) Writes(mark int) (out []string) {
	s.Helper()
	for _, e := range cluster.Since(s, mark) {
		if e.UserAgent == s.Prefix && e.Mutating() {
			out = append(out, fmt.Sprintf("%s %s %s", e.Verb, strings.TrimSuffix(e.Resource+"/"+e.Subresource, "/"), strings.TrimPrefix(e.Namespace+"/"+e.Name, "/")))
		}
	}
	return out
}

// holds is the message of an object's condition if it is True for a reason and speaks of the object's present generation.
func holds(o condition.Object, kind, reason string) (message string, err error) {
	c := meta.FindStatusCondition(*o.GetConditions(), kind)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || o.GetObservedGeneration() != o.GetGeneration() {
		return "", fmt.Errorf("generation %d, conditions of %d: %s", o.GetGeneration(), o.GetObservedGeneration(), Conditions(o))
	}
	return c.Message, nil
}

// Conditions are those of an object, in one line.
func Conditions(o condition.Object) string {
	var out []string
	for _, c := range *o.GetConditions() {
		out = append(out, fmt.Sprintf("%s=%s %s %q", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(out, ", ")
}

// Condition is one of an object as "True Succeeded all is well", or empty.
func Condition(o condition.Object, kind string) string {
	c := meta.FindStatusCondition(*o.GetConditions(), kind)
	if c == nil {
		return ""
	}
	return strings.Join([]string{string(c.Status), c.Reason, c.Message}, " ")
}
