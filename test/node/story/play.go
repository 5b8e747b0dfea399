package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
)

// Cluster is where a story happens.
type Cluster interface {
	// Config acts as a user in groups.
	Config(user string, groups ...string) (*rest.Config, error)
}

// Play plays a story, whose steps name files relative to the repository. The first step that fails ends it.
func Play(t *testing.T, c Cluster, repository, folder string) {
	t.Helper()
	steps, names, err := Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range steps {
		done := t.Run(strings.TrimSuffix(names[i], ".yaml"), func(t *testing.T) {
			a := act{Step: step, repository: repository, cluster: c}
			if err := a.play(t.Context(), func(what string, f func() error) { cluster.Eventually(t, step.Within.Duration, what, f) }); err != nil {
				t.Fatal(err)
			}
		})
		if !done {
			t.Fatalf("the story ends at %s", filepath.Join(folder, names[i]))
		}
	}
}

// act is a step under way.
type act struct {
	Step
	repository string
	cluster    Cluster

	cfg   *rest.Config
	actor client.Client // whoever acts
	admin client.Client // who looks
}

// play does what the step says and hands what it waits for to eventually.
func (a *act) play(ctx context.Context, eventually func(what string, f func() error)) (err error) {
	if a.cfg, a.actor, err = a.connect(a.As); err != nil {
		return err
	}
	if _, a.admin, err = a.connect(Person{platformEngineer, []string{mastersGroup}}); err != nil {
		return err
	}
	applied, err := a.objects()
	if err != nil {
		return err
	}
	for _, o := range applied {
		if err := a.try(ctx, "applying", o, a.apply); err != nil {
			return err
		}
	}
	for _, o := range a.Delete {
		if err := a.try(ctx, "deleting", &o.Unstructured, func(ctx context.Context, o *unstructured.Unstructured) error { return a.actor.Delete(ctx, o) }); err != nil {
			return err
		}
	}
	if a.Run != nil {
		eventually(strings.Join(a.Run.Command, " ")+" prints "+a.Run.Prints, func() error { return a.run(ctx) })
	}
	for _, o := range a.Expect {
		eventually(name(&o.Unstructured)+" is as expected", func() error { return a.expected(ctx, o) })
	}
	for _, o := range a.Gone {
		eventually(name(&o.Unstructured)+" is gone", func() error { return a.gone(ctx, o) })
	}
	return nil
}

func (a *act) connect(p Person) (*rest.Config, client.Client, error) {
	cfg, err := a.cluster.Config(p.User, p.Groups...)
	if err != nil {
		return nil, nil, fmt.Errorf("acting as %s: %w", p.User, err)
	}
	c, err := client.New(cfg, client.Options{Scheme: cluster.Scheme()})
	return cfg, client.WithFieldValidation(c, "Strict"), err
}

// objects are those to apply, of files first.
func (a *act) objects() (all []*unstructured.Unstructured, err error) {
	for _, file := range a.Files {
		text, err := os.ReadFile(filepath.Join(a.repository, file))
		if err != nil {
			return nil, err
		}
		objects, err := embedded.Documents(text)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		all = append(all, objects...)
	}
	for _, o := range a.Apply {
		all = append(all, o.DeepCopy())
	}
	return all, nil
}

// try does something with an object, and wants it refused where the step says so.
func (a *act) try(ctx context.Context, doing string, o *unstructured.Unstructured, do func(context.Context, *unstructured.Unstructured) error) error {
	err := do(ctx, o)
	switch {
	case a.Refused == "" && err != nil:
		return fmt.Errorf("%s %s as %s: %w", doing, name(o), a.As.User, err)
	case a.Refused != "" && err == nil:
		return fmt.Errorf("%s %s as %s was not refused", doing, name(o), a.As.User)
	case a.Refused != "" && !strings.Contains(err.Error(), a.Refused):
		return fmt.Errorf("%s %s as %s was refused, but not by %q: %w", doing, name(o), a.As.User, a.Refused, err)
	}
	return nil
}

func (a *act) apply(ctx context.Context, o *unstructured.Unstructured) error {
	before := o.DeepCopy()
	if a.Unchanged {
		if err := a.actor.Get(ctx, client.ObjectKeyFromObject(o), before); err != nil {
			return err
		}
	}
	if err := a.actor.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl")); err != nil {
		return err
	}
	if a.Unchanged && o.GetResourceVersion() != before.GetResourceVersion() {
		return fmt.Errorf("it was changed from revision %s to %s", before.GetResourceVersion(), o.GetResourceVersion())
	}
	return nil
}

func (a *act) run(ctx context.Context) error {
	out, err := pods.Exec(ctx, a.cfg, client.ObjectKey{Namespace: a.Run.Namespace, Name: a.Run.Pod}, a.Run.Command...)
	if err != nil {
		return err
	}
	if !strings.Contains(out, a.Run.Prints) {
		return fmt.Errorf("it prints %q", out)
	}
	return nil
}

// found are the objects that an expectation may mean: one by its name, or all of its kind, in its namespace.
func (a *act) found(ctx context.Context, o Object) ([]unstructured.Unstructured, error) {
	if o.GetName() != "" {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(o.GroupVersionKind())
		err := a.admin.Get(ctx, client.ObjectKeyFromObject(&o.Unstructured), live)
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			return nil, nil
		}
		return []unstructured.Unstructured{*live}, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: o.GroupVersionKind().Group, Version: o.GroupVersionKind().Version, Kind: o.GetKind() + "List"})
	err := a.admin.List(ctx, list, client.InNamespace(o.GetNamespace()))
	return list.Items, err
}

func (a *act) expected(ctx context.Context, o Object) error {
	found, err := a.found(ctx, o)
	if err != nil {
		return err
	}
	err = errors.New("there is none")
	for _, live := range found {
		if err = match("", o.Object, current(live.Object)); err == nil {
			return nil
		}
	}
	if o.GetNamespace() == "" {
		return err
	}
	return fmt.Errorf("%w\n%s", err, pods.Explain(ctx, a.admin, o.GetNamespace()))
}

func (a *act) gone(ctx context.Context, o Object) error {
	found, err := a.found(ctx, o)
	if err != nil {
		return err
	}
	for _, live := range found {
		if match("", o.Object, live.Object) == nil {
			return fmt.Errorf("%s is there, with status %s", name(&live), inline(live.Object["status"]))
		}
	}
	return nil
}

// name tells people which object is meant.
func name(o *unstructured.Unstructured) string {
	return strings.TrimRight(o.GetKind()+" "+strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/"), " /")
}
