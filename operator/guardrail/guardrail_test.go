package guardrail_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guardrail"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestCounted(t *testing.T) {
	cases := map[string]struct {
		reason           string
		spec, hard, used corev1.ResourceList
		want             bool
	}{
		"Counted":  {"everything has a count", list("pods", "5", "requests.cpu", "1"), list("pods", "5", "requests.cpu", "1"), list("pods", "0", "requests.cpu", "0"), true},
		"Spelling": {"one amount, written twice", list("requests.cpu", "1000m"), list("requests.cpu", "1"), list("requests.cpu", "0"), true},
		"New":      {"nothing is counted yet", list("pods", "5"), nil, nil, false},
		"Partly":   {"one resource is not counted yet", list("pods", "5", "requests.cpu", "1"), list("pods", "5", "requests.cpu", "1"), list("pods", "0"), false},
		"Stale":    {"the count is of the limit of before", list("pods", "5"), list("pods", "4"), list("pods", "0"), false},
		"More":     {"of what is no longer limited there may be a count", list("pods", "5"), list("pods", "5", "secrets", "1"), list("pods", "0", "secrets", "0"), true},
		"Empty":    {"a quota that limits nothing is none", nil, nil, nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: tc.spec}, Status: corev1.ResourceQuotaStatus{Hard: tc.hard, Used: tc.used}}
			if got := guardrail.Counted(q); got != tc.want {
				t.Errorf("%s: %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
}

func TestBlocker(t *testing.T) {
	condition := func(status corev1.ConditionStatus, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Status: status, Message: message}
	}
	ns := &corev1.Namespace{Status: corev1.NamespaceStatus{Conditions: []corev1.NamespaceCondition{
		condition("True", "some content remains"), condition("False", "all is discovered"), condition("True", "finalizers remain"),
	}}}
	if diff := cmp.Diff("finalizers remain; some content remains", guardrail.Blocker(ns)); diff != "" {
		t.Errorf("in a stable order (-want +got):\n%s", diff)
	}
	if got := guardrail.Blocker(&corev1.Namespace{}); got != "" {
		t.Errorf("nothing blocks, and %q is told", got)
	}
}

func TestBindings(t *testing.T) {
	subject := func(kind v1alpha1.SubjectKind, name string) v1alpha1.Subject {
		return v1alpha1.Subject{Kind: kind, Name: name}
	}
	people := []v1alpha1.Subject{
		subject("User", "b"), subject("Group", "b"), subject("ServiceAccount", "flux"), subject("Group", "a"), subject("Group", "b"),
	}
	got := guardrail.Bindings("lugano--sportello",
		guardrail.Granted{Name: "nobody", Role: "view"},
		guardrail.Granted{Name: "admin", Role: "r", Subjects: people, AccountsIn: "lugano"})
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const group = "rbac.authorization.k8s.io"
	want := `[{"kind":"RoleBinding","apiVersion":"` + group + `/v1","metadata":{"name":"admin","namespace":"lugano--sportello"},"subjects":[` +
		`{"kind":"Group","apiGroup":"` + group + `","name":"a"},{"kind":"Group","apiGroup":"` + group + `","name":"b"},` +
		`{"kind":"ServiceAccount","name":"flux","namespace":"lugano"},{"kind":"User","apiGroup":"` + group + `","name":"b"}],` +
		`"roleRef":{"apiGroup":"` + group + `","kind":"ClusterRole","name":"r"}}]`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("sorted, each once, no binding of nobody (-want +got):\n%s", diff)
	}
	if people[0].Name != "b" || people[0].Kind != "User" {
		t.Error("the manifest's own list was sorted")
	}
}

func TestAccounts(t *testing.T) {
	got := guardrail.Accounts("lugano", []v1alpha1.Subject{
		{Kind: "ServiceAccount", Name: "flux"}, {Kind: "User", Name: "anna"}, {Kind: "ServiceAccount", Name: "argo"}, {Kind: "ServiceAccount", Name: "flux"}, {Kind: "Group", Name: "g"},
	})
	var names []string
	for _, o := range got {
		names = append(names, *o.GetKind()+"/"+*o.GetNamespace()+"/"+*o.GetName())
	}
	if diff := cmp.Diff([]string{"ServiceAccount/lugano/argo", "ServiceAccount/lugano/flux"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCount(t *testing.T) {
	if none, some := guardrail.Count(nil), guardrail.Count(new(int32(7))); none.String() != "0" || some.String() != "7" {
		t.Errorf("nil is %s, 7 is %s", none.String(), some.String())
	}
}
