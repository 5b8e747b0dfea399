package stack_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// pod is a sound pod of a tenant's own, unless it is changed.
func podOf(namespace, name string, change func(*corev1.Pod)) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: stage.In(namespace, name), Spec: corev1.PodSpec{
		RestartPolicy:   corev1.RestartPolicyNever,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
	change(out)
	return out
}

func jobOf(namespace, name string, job, template map[string]string, account string) *batchv1.Job {
	spec := podOf(namespace, name, func(p *corev1.Pod) { p.Spec.ServiceAccountName = account }).Spec
	out := &batchv1.Job{ObjectMeta: stage.In(namespace, name), Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}}}
	out.Labels, out.Spec.Template.Labels = job, template
	return out
}

// TestGuard has cluster administrators, whom RBAC lets do anything, try what nobody but the operator and the Job controller may do.
func TestGuard(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "guard")
	one := p.begun(v1alpha1.OperationPlan)
	pod := p.pod(one)
	namespace := p.workspace.TargetNamespace()
	label := map[string]string{v1alpha1.LabelRun: string(one.UID), v1alpha1.LabelStack: "config"}
	job := &batchv1.Job{ObjectMeta: stage.In(namespace, one.Status.Job)}
	account := func(p *corev1.Pod) { p.Spec.ServiceAccountName = "stack-config" }
	labelled := func(p *corev1.Pod) { p.Labels = label }
	fake := one.DeepCopy()
	fake.ObjectMeta = stage.In(one.Namespace, "config-99")
	fake.Spec.Attempt = 99
	p.Try("a cluster administrator", cluster.ClusterAdmin(), stage.Attempts{
		"make a run":                  stage.Forbidden("runs are the operator's", stage.Making(fake)),
		"delete a run":                stage.Forbidden("it is a record", stage.Deleting(one)),
		"make a run's Job":            stage.Forbidden("the broker would know its pod", stage.Making(jobOf(namespace, "eve", label, nil, ""))),
		"make a Job of run's pods":    stage.Forbidden("its pod would pass for a run's", stage.Making(jobOf(namespace, "eve", nil, label, ""))),
		"change a run's Job":          stage.Forbidden("it is the operator's", stage.Patching(job)),
		"delete a run's Job":          stage.Forbidden("there is an annotation for that", stage.Deleting(job)),
		"make a run's pod":            stage.Forbidden("only the Job controller does", stage.Making(podOf(namespace, "eve", labelled))),
		"make a pod act as a stack":   stage.Forbidden("only runs do", stage.Making(podOf(namespace, "eve", account))),
		"change a run's pod":          stage.Forbidden("its image, for one", stage.Patching(pod)),
		"a token of a stack":          stage.Forbidden("only nodes ask for one", tokenOf(namespace, "stack-config")),
		"look into a run's pod":       stage.Forbidden("it holds secrets", connecting(cluster.ClusterAdmin(), pod, "exec?command=sh")),
		"attach to a run's pod":       stage.Forbidden("it holds secrets", connecting(cluster.ClusterAdmin(), pod, "attach")),
		"a port of a run's pod":       stage.Forbidden("it holds secrets", connecting(cluster.ClusterAdmin(), pod, "portforward")),
		"make a Job of their own":     stage.Passes("it is no run's", stage.Making(jobOf(namespace, "own", nil, nil, ""))),
		"make a pod of their own":     stage.Passes("it is no run's", stage.Making(podOf(namespace, "own", func(*corev1.Pod) {}))),
		"a token of the default one":  stage.Passes("it is no stack's", tokenOf(namespace, "default")),
		"a Job that acts as a stack":  stage.Passes("but its pod is refused", stage.Making(jobOf(namespace, "late", nil, nil, "stack-config"))),
		"write what a Stack has made": stage.Forbidden("status is the operator's", approvingStatus(p.stack)),
	})
	p.plays(one, run.Report{Plan: p.changes()})
	var pods corev1.PodList
	if err := p.Admin.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{"batch.kubernetes.io/job-name": "late"}); err != nil || len(pods.Items) > 0 {
		t.Errorf("a Job of a tenant has %d pods that act as a stack: %v", len(pods.Items), err)
	}
}

func tokenOf(namespace, account string) stage.Request {
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: stage.In(namespace, account)}, &authenticationv1.TokenRequest{})
	}
}

func approvingStatus(s *v1alpha1.Stack) stage.Request {
	return func(ctx context.Context, c client.Client) error {
		o := s.DeepCopy()
		return c.Status().Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"run":"config-99"}}`)))
	}
}

// connecting asks for a subresource of a pod by which one gets into it.
func connecting(cfg *rest.Config, pod *corev1.Pod, what string) stage.Request {
	return func(ctx context.Context, _ client.Client) error {
		c, err := rest.HTTPClientFor(cfg)
		if err != nil {
			return err
		}
		url := cfg.Host + "/api/v1/namespaces/" + pod.Namespace + "/pods/" + pod.Name + "/" + what
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return err
		}
		answer, err := c.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if answer.StatusCode == http.StatusForbidden && strings.Contains(string(body), "broletto-runs") {
			return apierrors.NewForbidden(corev1.Resource("pods"), pod.Name, nil)
		}
		return err
	}
}

// TestApproval has somebody who may write stacks and not approve.
func TestApproval(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "approval")
	plan := p.changes()
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: plan})
	writer := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: p.ID("writer")}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"stacks"}, Verbs: []string{"get", "create", "patch", "update"},
	}}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: stage.In(p.stack.Namespace, "writer"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: writer.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: p.ID("paolo")}},
	}
	for _, o := range []client.Object{writer, binding} {
		if err := p.Admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = p.Admin.Delete(context.WithoutCancel(t.Context()), writer) })
	approving := func(ctx context.Context, c client.Client) error {
		patch := []byte(`{"spec":{"approvedPlan":"` + string(plan.Digest) + `"}}`)
		return c.Patch(ctx, p.stack.DeepCopy(), client.RawPatch("application/merge-patch+json", patch))
	}
	p.Try("who writes stacks", cluster.As(p.ID("paolo")), stage.Attempts{
		"change a stack": stage.Passes("approval is another right", stage.Patching(p.stack)),
		"approve":        stage.Forbidden("it takes the verb approve", approving),
		"make one that is approved": stage.Forbidden("it takes the verb approve", stage.Making(newStack(p.stack.Namespace, func(s *v1alpha1.Stack) {
			s.Name, s.Spec.ApprovedPlan = "other", plan.Digest
		}))),
	})
	p.Try("the comune's administrator", cluster.As("anna", stage.Group(p.stack.Namespace, "ict")), stage.Attempts{
		"approve": stage.Passes("that is whose it is", approving),
	})
	p.CaughtUp(p.stack)
	p.begun(v1alpha1.OperationApply)
}
