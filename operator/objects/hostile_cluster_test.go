package objects_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// resources by the kinds of this package's entries.
var resources = map[string]objects.Resource{
	"ConfigMap": {Version: "v1", Resource: "configmaps"}, "Secret": {Version: "v1", Resource: "secrets"}, "Service": {Version: "v1", Resource: "services"},
	"ServiceAccount": {Version: "v1", Resource: "serviceaccounts"}, "Pod": {Version: "v1", Resource: "pods"}, "PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
	"Namespace": {Version: "v1", Resource: "namespaces"}, "ResourceQuota": {Version: "v1", Resource: "resourcequotas"}, "Endpoints": {Version: "v1", Resource: "endpoints"},
	"Role": {Group: rbacv1.GroupName, Version: "v1", Resource: "roles"}, "RoleBinding": {Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"},
	"ClusterRole": {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterroles"}, "ClusterRoleBinding": {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterrolebindings"},
	"Job": {Group: "batch", Version: "v1", Resource: "jobs"}, "Deployment": {Group: "apps", Version: "v1", Resource: "deployments"}, "DaemonSet": {Group: "apps", Version: "v1", Resource: "daemonsets"},
	"NetworkPolicy": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, "Workspace": {Group: "broletto.dev", Version: "v1alpha1", Resource: "workspaces"},
}

// entries are those of a manifest.
func (s scene) entries(manifest string) (out []entry) {
	s.Helper()
	for _, o := range s.parse(manifest) {
		out = append(out, entry{resources[o.GetKind()], o})
	}
	return out
}

// TestHostileArchive puts back what nobody may have collected.
func TestHostileArchive(t *testing.T) {
	t.Parallel()
	s := newScene(t, "hostile", "qui", "la")
	const rbac = "apiVersion: rbac.authorization.k8s.io/v1, "
	toPaul := "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: '" + s.administrator().Groups[0] + "'}]"
	ref := func(kind, name string) string {
		return "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: " + kind + ", name: " + name + "}, "
	}
	big := strings.Repeat("x", 2<<20)
	entries := map[string]struct {
		object string
		as     objects.Resource // as the archive calls it; none: as it is
		want   string           // why it is refused; empty: it is put back
	}{
		"ClusterRoleBinding": {"{" + rbac + "kind: ClusterRoleBinding, metadata: {name: x}, " + ref("ClusterRole", "cluster-admin") + toPaul + "}", objects.Resource{}, "no namespaced resource"},
		"ClusterRole":        {"{" + rbac + "kind: ClusterRole, metadata: {name: x}, rules: []}", objects.Resource{}, "no namespaced resource"},
		"Namespace":          {"{apiVersion: v1, kind: Namespace, metadata: {name: x}}", objects.Resource{}, "no namespaced resource"},
		"in disguise":        {"{" + rbac + "kind: ClusterRoleBinding, metadata: {name: x}, " + ref("ClusterRole", "cluster-admin") + toPaul + "}", resources["RoleBinding"], "calls itself"},
		"another group":      {"{apiVersion: apps/v1, kind: ConfigMap, metadata: {name: x}}", resources["ConfigMap"], "calls itself"},
		"subresource":        {"{apiVersion: v1, kind: PodExecOptions, metadata: {name: x}}", objects.Resource{Version: "v1", Resource: "pods/exec"}, "no namespaced resource"},
		"path as resource":   {"{apiVersion: v1, kind: Pod, metadata: {name: x}}", objects.Resource{Version: "v1", Resource: "../nodes"}, "no namespaced resource"},
		"other namespace":    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-system}}", objects.Resource{}, "of namespace"},
		"the target's":       {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: " + s.in("la") + "}}", objects.Resource{}, "of namespace"},
		"number as place":    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: 7}}", objects.Resource{}, "of namespace"},
		"name upwards":       {"{apiVersion: v1, kind: ConfigMap, metadata: {name: ../secrets/x}}", objects.Resource{}, "no name"},
		"name up":            {"{apiVersion: v1, kind: ConfigMap, metadata: {name: '..'}}", objects.Resource{}, "no name"},
		"no name":            {"{apiVersion: v1, kind: ConfigMap, metadata: {generateName: x}}", objects.Resource{}, "no name"},
		"name of lines":      {"{apiVersion: v1, kind: ConfigMap, metadata: {name: \"x\\ny\"}}", objects.Resource{}, "Invalid value"},
		"no metadata":        {"{apiVersion: v1, kind: ConfigMap, metadata: text}", objects.Resource{}, "no name"},
		"labels of text":     {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x1, labels: text}}", objects.Resource{}, "cannot unmarshal"},
		"no such field type": {"{apiVersion: v1, kind: Service, metadata: {name: x2}, spec: {ports: text}}", objects.Resource{}, "cannot unmarshal"},
		"role of everything": {"{" + rbac + "kind: Role, metadata: {name: x}, rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]}", objects.Resource{}, "no wildcard"},
		"role of more":       {"{" + rbac + "kind: Role, metadata: {name: x}, rules: [{apiGroups: [apps], resources: [daemonsets], verbs: [create]}]}", objects.Resource{}, "may not create daemonsets.apps"},
		"role that binds":    {"{" + rbac + "kind: Role, metadata: {name: x}, rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind]}]}", objects.Resource{}, "may not bind"},
		"role without end":   {"{" + rbac + "kind: Role, metadata: {name: x}, rules: [{apiGroups: [" + many("g", 99) + "], resources: [" + many("r", 99) + "], verbs: [get]}]}", objects.Resource{}, "more rules"},
		"bound: admin":       {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("ClusterRole", "cluster-admin") + toPaul + "}", objects.Resource{}, "is none that"},
		"bound: backup":      {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("ClusterRole", "broletto-backup") + toPaul + "}", objects.Resource{}, "is none that"},
		"bound: nothing":     {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("Role", "none") + toPaul + "}", objects.Resource{}, "make it first"},
		"bound: a path":      {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("Role", "../x") + toPaul + "}", objects.Resource{}, "no role"},
		"bound: who":         {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("ClusterRole", "broletto-workspace-view") + "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}]}", objects.Resource{}, "not one of your tenant"},
		"bound: account":     {"{" + rbac + "kind: RoleBinding, metadata: {name: x}, " + ref("ClusterRole", "broletto-workspace-view") + "subjects: [{kind: ServiceAccount, name: default, namespace: kube-system}]}", objects.Resource{}, "not this workspace's"},
		"token":              {"{apiVersion: v1, kind: Secret, metadata: {name: x, annotations: {kubernetes.io/service-account.name: default}}, type: kubernetes.io/service-account-token}", objects.Resource{}, "holds a token"},
		"our account":        {"{apiVersion: v1, kind: ServiceAccount, metadata: {name: x, labels: {broletto.dev/owner: x}}}", objects.Resource{}, "Broletto's"},
		"our binding":        {"{" + rbac + "kind: RoleBinding, metadata: {name: tenant-admin, labels: {broletto.dev/owner: x}}, " + ref("ClusterRole", "broletto-workspace-admin") + toPaul + "}", objects.Resource{}, "Broletto's"},
		"our policy's name":  {"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: default-deny}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}}", objects.Resource{}, "Broletto's"},
		"a run's Job":        {"{apiVersion: batch/v1, kind: Job, metadata: {name: x, labels: {broletto.dev/run: x}}, spec: {template: {spec: " + podSpec + ", restartPolicy: Never}}}}", objects.Resource{}, "run of a Stack"},
		"pods of a run":      {"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {template: {metadata: {labels: {broletto.dev/run: x}}, spec: " + podSpec + ", restartPolicy: Never}}}}", objects.Resource{}, "only Broletto writes it"},
		"pod as our account": {"{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: " + podSpec + ", serviceAccountName: broletto-backup}}", objects.Resource{}, "Broletto alone acts"},
		"pod of the host":    {"{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: " + podSpec + ", hostNetwork: true}}", objects.Resource{}, "violates PodSecurity"},
		"a quota":            {"{apiVersion: v1, kind: ResourceQuota, metadata: {name: broletto}, spec: {hard: {pods: '999'}}}", objects.Resource{}, "not put back"},
		"a kind of ours":     {"{apiVersion: broletto.dev/v1alpha1, kind: Workspace, metadata: {name: x}, spec: {}}", objects.Resource{}, "not put back"},
		"endpoints":          {"{apiVersion: v1, kind: Endpoints, metadata: {name: x}, subsets: []}", objects.Resource{}, "not put back"},
		"a DaemonSet":        {"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + podSpec + "}}}}", objects.Resource{}, "may not create daemonsets.apps"},
		"2 MiB":              {"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: " + big + "}}", objects.Resource{}, "larger"},
		"unknown":            {"{apiVersion: eve.example/v1, kind: Eve, metadata: {name: x}}", objects.Resource{Group: "eve.example", Version: "v1", Resource: "eves"}, "install it"},
		"foreign owner":      {"{apiVersion: v1, kind: ConfigMap, metadata: {name: owned, uid: f1, ownerReferences: [{apiVersion: v1, kind: Namespace, name: x, uid: 00000000-0000-0000-0000-000000000001}]}}", objects.Resource{}, ""},
		"forged owner":       {"{apiVersion: v1, kind: ConfigMap, metadata: {name: forged, ownerReferences: [{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, name: owned, uid: f1}]}}", objects.Resource{}, ""},
		"own owner":          {"{apiVersion: v1, kind: ConfigMap, metadata: {name: loop, uid: f2, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: loop, uid: f2}]}}", objects.Resource{}, ""},
		"finalizer":          {"{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [eve.example/for-ever], deletionTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '7', managedFields: [{manager: eve}]}}", objects.Resource{}, ""},
		"our labels":         {"{apiVersion: v1, kind: ConfigMap, metadata: {name: labelled, labels: {broletto.dev/instance: x, broletto.dev/owner: x, a: b}, annotations: {broletto.dev/made: x}}}", objects.Resource{}, ""},
		"a status":           {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: stated}, spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + podSpec + "}}}, status: {replicas: 7}}", objects.Resource{}, ""},
	}
	before := s.outside()
	for name, e := range entries {
		one := s.entries(e.object)
		if e.as != (objects.Resource{}) {
			one[0].resource = e.as
		}
		for _, dry := range []bool{true, false} {
			got := s.apply(one, s.order("la", func(o *objects.Order) { o.From, o.DryRun, o.Conflicts = s.in("qui"), dry, objects.Replace }))
			switch {
			case e.want == "" && counts(got) != [6]int{1}:
				t.Errorf("%s, dry run %t, is not put back: %q", name, dry, told(got))
			case e.want != "" && (counts(got) != [6]int{5: 1} || !strings.Contains(got.Refused.First[0].Why, e.want)):
				t.Errorf("%s, dry run %t, want it refused since %q: %.400q", name, dry, e.want, told(got))
			}
		}
	}
	if err := stage.Same(before, s.outside()); err != nil {
		t.Errorf("something else was written: %v", err)
	}
	made, _ := s.collect("la")
	for _, e := range made {
		o := e.object
		if len(o.GetFinalizers())+len(o.GetOwnerReferences()) > 0 {
			t.Errorf("%s has finalizers %v and owners %v", e, o.GetFinalizers(), o.GetOwnerReferences())
		}
		for key := range o.GetLabels() {
			if strings.HasPrefix(key, "broletto.dev/") {
				t.Errorf("%s has label %s", e, key)
			}
		}
	}
	if len(made) != 6 {
		t.Errorf("put back: %v", names(made))
	}
}

func many(prefix string, n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(prefix, i))
	}
	return strings.Join(out, ", ")
}

// outside is what an archive must not reach: the cluster, namespaces that are not the target, and what Broletto made there.
func (s scene) outside() map[string]string {
	s.Helper()
	out := map[string]string{}
	for _, o := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}, &corev1.Namespace{}} {
		o.SetName("x")
		out[fmt.Sprintf("%T", o)] = strconv.FormatBool(s.Exists(o))
	}
	for _, kind := range []client.ObjectList{&rbacv1.RoleBindingList{}, &rbacv1.RoleList{}, &corev1.ConfigMapList{}, &networkingv1.NetworkPolicyList{}, &corev1.ServiceAccountList{}} {
		for _, namespace := range []string{"kube-system", "default", s.tenant.Name, s.in("qui"), s.in("la")} {
			for _, o := range s.List(kind, namespace) {
				if _, isOurs := o.GetLabels()["broletto.dev/owner"]; isOurs && o.GetName() != "labelled" || namespace != s.in("la") {
					out[fmt.Sprintf("%T %s/%s", o, namespace, o.GetName())] = o.GetResourceVersion()
				}
			}
		}
	}
	return out
}

// TestRequester puts back only what whoever asked for it may write themselves, whatever the account may.
func TestRequester(t *testing.T) {
	t.Parallel()
	s := newScene(t, "asks", "qui")
	all := s.entries(strings.ReplaceAll(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {password: Z2VoZWlt}}
---
{apiVersion: v1, kind: Secret, metadata: {name: b}, data: {password: Z2VoZWlt}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: few}, rules: [{apiGroups: [""], resources: [configmaps], verbs: [create]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: more}, rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: few}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: few}, subjects: [{kind: ServiceAccount, name: default, namespace: SITE}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: view}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-admin}, subjects: [{kind: ServiceAccount, name: default, namespace: SITE}]}
`, "SITE", s.in("qui")))
	s.write(s.Admin, "qui", strings.ReplaceAll(`
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: deputy}, rules: [{apiGroups: ["", rbac.authorization.k8s.io], resources: [configmaps, roles, rolebindings], verbs: [create, update]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: deputy}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deputy}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: DEPUTY}]}
`, "DEPUTY", s.ID("paolo")))
	asked := map[string]int{}
	may := s.client.May(s.in("qui"), authenticationv1.UserInfo{Username: s.ID("paolo")})
	counted := make(chan string, 1000)
	cluster.Eventually(s, stage.Patience, "the deputy has rights", func() error { return may(s.Context(), "create", resources["ConfigMap"]) })
	for _, dry := range []bool{true, false} {
		got := s.apply(all, s.order("qui", func(o *objects.Order) {
			o.DryRun = dry
			o.May = func(ctx context.Context, verb string, r objects.Resource) error {
				if !dry {
					counted <- verb + " " + r.String()
				}
				return may(ctx, verb, r)
			}
		}))
		want := [6]int{0: 3, 5: 4} // the config map, the role and the binding of few
		if counts(got) != want {
			t.Errorf("dry run %t: %q", dry, told(got))
		}
		for _, text := range told(got) {
			if strings.Contains(text, "geheim") || strings.Contains(text, "Z2VoZWlt") {
				t.Errorf("a secret is told: %s", text)
			}
		}
	}
	close(counted)
	for question := range counted {
		asked[question]++
	}
	for question, times := range asked {
		if times != 1 {
			t.Errorf("%s was asked %d times", question, times)
		}
	}
	if got := s.apply(all, s.order("qui", func(o *objects.Order) { o.Bindings = false })); counts(got) != [6]int{0: 2, 2: 1, 4: 4} {
		t.Errorf("without bindings: %q", told(got))
	}
}
