package security

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// admits gives the group of the one who will leave rights in the site.
func (w *town) admits(role v1alpha1.AccessRole) {
	w.Helper()
	stage.Edit(w.Stage, w.site, func(site *v1alpha1.Workspace) {
		site.Spec.Access = append(site.Spec.Access, v1alpha1.Access{Role: role, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: w.ID("ex")}})
	})
	w.Ready(w.site)
}

// dismisses takes a name out of spec.access.
func (w *town) dismisses(name string) {
	w.Helper()
	stage.Edit(w.Stage, w.site, func(site *v1alpha1.Workspace) {
		site.Spec.Access = slices.DeleteFunc(site.Spec.Access, func(a v1alpha1.Access) bool { return a.Name == name })
	})
	w.Ready(w.site)
}

// bequest is what an administrator leaves behind: bindings to groups and accounts, an account, a job.
func (w *town) bequest(who *rest.Config) {
	w.Helper()
	binding := func(name, role, subjects string) string {
		return "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: " + name + ", namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, " + role +
			"}, subjects: [" + subjects + "]}"
	}
	const admin = "kind: ClusterRole, name: broletto-workspace-admin"
	const group = "{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "
	const robot = "{kind: ServiceAccount, name: robot, namespace: SITE}"
	for _, text := range []string{
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE}}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: all, namespace: SITE}, rules: [{apiGroups: [''], resources: [secrets, configmaps], verbs: [get, list, create]}]}",
		binding("to-group", admin, group+"PREFIX-ex}"),
		binding("to-group-by-role", "kind: Role, name: all", group+"PREFIX-ex}"),
		binding("to-both", admin, group+"OWN:ict}, "+group+"PREFIX-ex}"),
		binding("to-robot", admin, robot),
		binding("to-pipeline", "kind: Role, name: all", "{kind: ServiceAccount, name: pipeline, namespace: SITE}"),
		binding("to-others", "kind: Role, name: all", group+"PREFIX-web}"),
		"{apiVersion: batch/v1, kind: CronJob, metadata: {name: later, namespace: SITE}, spec: {suspend: true, schedule: '0 4 * * *', jobTemplate: {spec: {template: {spec: {serviceAccountName: robot, restartPolicy: Never, POD}}}}}}",
	} {
		w.make(who, text)
	}
}

// may tells whether somebody who has rights in the site still does: reads and writes, and asks for a token.
func (w *town) may(cfg *rest.Config) (out []string) {
	w.Helper()
	c, site := cluster.Client(w, cfg), w.site.TargetNamespace()
	for what, do := range map[string]stage.Request{
		"lists Secrets":   stage.Listing(&corev1.SecretList{}, site),
		"lists ConfigMap": stage.Listing(&corev1.ConfigMapList{}, site),
		"lists pods":      stage.Listing(&corev1.PodList{}, site),
		"writes": func(ctx context.Context, c client.Client) error {
			return c.Create(ctx, &corev1.ConfigMap{ObjectMeta: stage.In(site, "by-eve")}, client.DryRunAll)
		},
		"asks for a token":     asking("robot", site, 3600),
		"lists in the home":    stage.Listing(&v1alpha1.WorkspaceList{}, w.own.Name),
		"a token in the home":  asking("flux", w.own.Name, 3600),
		"ConfigMaps at home":   stage.Listing(&corev1.ConfigMapList{}, w.own.Name),
		"lists in the annex":   stage.Listing(&corev1.PodList{}, w.annex.TargetNamespace()),
		"lists at the victims": stage.Listing(&corev1.PodList{}, w.target.TargetNamespace()),
	} {
		err := do(w.Context(), c)
		if err == nil {
			out = append(out, what)
		} else if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) && !apierrors.IsNotFound(err) {
			w.Errorf("%s: %v", what, err)
		}
	}
	slices.Sort(out)
	return out
}

func asking(account, namespace string, seconds int64) stage.Request {
	return func(ctx context.Context, c client.Client) error {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
		return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: stage.In(namespace, account)}, request)
	}
}

// bindings are the names of the role bindings of the site that Broletto did not make.
func (w *town) bindings() string {
	w.Helper()
	var out []string
	for _, o := range w.List(&rbacv1.RoleBindingList{}, w.site.TargetNamespace()) {
		if o.GetLabels()[v1alpha1.LabelOwner] == "" {
			out = append(out, o.GetName())
		}
	}
	return strings.Join(out, " ")
}

// TestRemovedAdministrator has an administrator leave behind what it can, and go.
func TestRemovedAdministrator(t *testing.T) {
	t.Parallel()
	w := newTown(t, "removed")
	w.admits(v1alpha1.RoleAdmin)
	w.bequest(w.removed())
	robot, pipeline, flux := cluster.Account(t, w.site.TargetNamespace(), "robot"), w.account(), cluster.Account(t, w.own.Name, "flux")
	w.suffers("administrator who will leave", w.removed(), map[string]attack{
		"token for ten years": {"it would outlive the rights", asking("robot", w.site.TargetNamespace(), 10*365*24*3600), "at most 86400 s"},
		"of the pipeline":     {"it would outlive the rights", asking("pipeline", w.site.TargetNamespace(), 86401), "at most 86400 s"},
		"an exception": {"the operator would leave it", func(ctx context.Context, c client.Client) error {
			b := &rbacv1.RoleBinding{ObjectMeta: stage.In(w.site.TargetNamespace(), "to-group")}
			b.Labels = map[string]string{v1alpha1.LabelException: ""}
			return c.Patch(ctx, b, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"broletto.dev/exception":""}}}`)))
		}, "which only the platform writes"},
	})
	if err := refused(asking("flux", w.own.Name, 86401)(t.Context(), cluster.Client(t, w.administrator())), "at most 86400 s"); err != nil {
		t.Error(err)
	}
	if got := len(w.may(w.removed())); got != 5 {
		t.Errorf("before: %d, want all of the site: %v", got, w.may(w.removed()))
	}
	platform := &rbacv1.RoleBinding{ObjectMeta: stage.In(w.site.TargetNamespace(), "platform")}
	platform.Labels = map[string]string{v1alpha1.LabelException: ""}
	platform.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	platform.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "auditors"}}
	w.Create(platform)

	w.Events()
	w.dismisses(w.ID("ex"))
	if got := w.may(w.removed()); len(got) > 0 {
		t.Errorf("after: the one who left %v", got)
	}
	if got := w.bindings(); got != "platform to-others to-pipeline to-robot" {
		t.Errorf("bindings: %s; want those of who is still here, and the platform's", got)
	}
	if told := strings.Join(w.Events(), "\n"); strings.Count(told, "Warning RightsWithdrawn RoleBinding to-") != 3 {
		t.Errorf("told: %s", told)
	}
	if got := w.may(pipeline); len(got) != 4 {
		t.Errorf("the pipeline, which stays: %v", got)
	}

	// What is left: an account that stays, to which an administrator bound rights, and its tokens of a day. Whoever deletes the account
	// ends them.
	if got := w.may(robot); len(got) != 5 {
		t.Errorf("the account that was left: %v", got)
	}
	if err := cluster.Client(t, w.administrator()).Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: stage.In(w.site.TargetNamespace(), "robot")}); err != nil {
		t.Fatal(err)
	}
	w.ends("robot", robot)

	// An account of spec.access goes with its tokens, and one made again under its name is another.
	w.dismisses("pipeline")
	w.ends("pipeline", pipeline)
	stage.Edit(w.Stage, w.site, w.people)
	w.Ready(w.site)
	w.ends("pipeline of before", pipeline)
	if got := w.may(w.account()); len(got) == 0 {
		t.Error("the new pipeline has no rights")
	}

	// So with the tenant's administrators, whose rights span home and workspaces.
	stage.Edit(w.Stage, w.own, func(own *v1alpha1.Tenant) {
		own.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: w.ID("new")}}
	})
	w.Ready(w.own, w.site)
	w.ends("flux", flux)
	if got := w.may(w.administrator()); len(got) > 0 {
		t.Errorf("administrators of before: %v", got)
	}

	// Who comes back under the same name gets what the spec says, and not what a binding of before gave.
	w.admits(v1alpha1.RoleView)
	if got := strings.Join(w.may(w.removed()), ", "); got != "lists ConfigMap, lists pods" {
		t.Errorf("come back as a viewer: %s", got)
	}
}

// ends waits until a token is worth nothing: the API server may hold its last answer for some seconds.
func (w *town) ends(who string, cfg *rest.Config) {
	w.Helper()
	c := cluster.Client(w, cfg)
	cluster.Eventually(w, stage.Soon, "the token of "+who+" ends", func() error {
		if err := c.List(w.Context(), &corev1.PodList{}); !apierrors.IsUnauthorized(err) { // it may be forbidden some seconds before it is unknown
			return fmt.Errorf("%v, want that nobody knows it", err) //nolint:errorlint // there may be none
		}
		return stage.Same(0, len(w.may(cfg)))
	})
}

// TestEndedMembership ends a tenant's membership: nobody of it has rights, by whatever they made before.
func TestEndedMembership(t *testing.T) {
	t.Parallel()
	w := newTown(t, "ended")
	w.admits(v1alpha1.RoleAdmin)
	w.bequest(w.administrator())
	all := map[string]*rest.Config{
		"administrator": w.administrator(), "member": w.member(), "viewer": w.viewer(), "removed": w.removed(), "account": w.account(),
		"robot": cluster.Account(t, w.site.TargetNamespace(), "robot"), "flux": cluster.Account(t, w.own.Name, "flux"),
	}
	for who, cfg := range all {
		if len(w.may(cfg)) == 0 {
			t.Errorf("%s has no rights at first", who)
		}
	}
	stage.Edit(w.Stage, w.own, func(own *v1alpha1.Tenant) {
		own.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2024-04-04", "2024-12-31")}
	})
	w.Await(w.own, v1alpha1.ConditionStalled, v1alpha1.ReasonMembershipEnded)
	for who, cfg := range all {
		cluster.Eventually(t, stage.Soon, who+" has no rights", func() error { return stage.Same(0, len(w.may(cfg))) })
	}
	if got := w.bindings(); got != "" {
		t.Errorf("bindings: %s", got)
	}
	if got := w.may(w.neighbour()); len(got) != 1 {
		t.Errorf("the neighbour: %v", got)
	}
}

// TestDeletedWorkspace deletes a workspace, retained and then for good, and makes it again under its name.
func TestDeletedWorkspace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "again")
	w.admits(v1alpha1.RoleAdmin)
	w.bequest(w.administrator())
	accounts := map[string]*rest.Config{"robot": cluster.Account(t, w.site.TargetNamespace(), "robot"), "account": w.account()}
	w.Remove(w.site)
	w.Await(w.site, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained)
	inSite := func(cfg *rest.Config) []string {
		return slices.DeleteFunc(w.may(cfg), func(what string) bool { return strings.Contains(what, "home") || strings.Contains(what, "annex") })
	}
	for who, cfg := range map[string]*rest.Config{"administrator": w.administrator(), "member": w.member(), "removed": w.removed(), "robot": accounts["robot"], "account": accounts["account"]} {
		cluster.Eventually(t, stage.Soon, who+" has no rights", func() error { return stage.Same(0, len(inSite(cfg))) })
	}
	stage.Edit(w.Stage, w.site, func(site *v1alpha1.Workspace) { site.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.Gone(w.site)
	w.site = w.Workspace(w.own, "sito", w.people)
	w.Ready(w.site)
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE}}")
	for who, cfg := range accounts {
		w.ends(who+" of the workspace before", cfg)
	}
	if got := w.bindings(); got != "" {
		t.Errorf("bindings: %s", got)
	}
}
