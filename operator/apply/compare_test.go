package apply

import (
	"testing"

	"sigs.k8s.io/yaml"
)

// parsed reads YAML as the converter gives it: whole numbers are int64.
func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMatches(t *testing.T) {
	cases := map[string]struct {
		reason     string
		kind       string
		want, live string
		match      bool
	}{
		"Equal":               {"all is as it should be", "ResourceQuota", `spec: {hard: {pods: "1"}}`, `spec: {hard: {pods: "1"}}`, true},
		"Changed":             {"a value differs", "ResourceQuota", `spec: {hard: {pods: "1"}}`, `spec: {hard: {pods: "2"}}`, false},
		"Missing":             {"a value is missing", "ResourceQuota", `spec: {hard: {pods: "1"}}`, `spec: {hard: {}}`, false},
		"MissingBranch":       {"all is missing", "ResourceQuota", `spec: {hard: {pods: "1"}}`, `{}`, false},
		"Added":               {"exact kinds hold nothing more", "ResourceQuota", `spec: {hard: {pods: "1"}}`, `spec: {hard: {pods: "1", secrets: "0"}}`, false},
		"AddedBranch":         {"not in a branch that we do not name either", "NetworkPolicy", `spec: {podSelector: {}}`, `spec: {podSelector: {}, egress: [{}]}`, false},
		"AddedDeep":           {"nor deep inside", "NetworkPolicy", `spec: {podSelector: {}}`, `spec: {podSelector: {matchLabels: {a: b}}}`, false},
		"AddedToOpen":         {"others complete a claim", "PersistentVolumeClaim", `spec: {storageClassName: a}`, `spec: {storageClassName: a, volumeName: v, volumeMode: Filesystem}`, true},
		"ChangedInOpen":       {"but do not change it", "PersistentVolumeClaim", `spec: {resources: {requests: {storage: 2Gi}}}`, `spec: {resources: {requests: {storage: 1Gi}}}`, false},
		"EmptyMapAbsent":      {"empty and absent are one", "NetworkPolicy", `spec: {podSelector: {}}`, `spec: {}`, true},
		"EmptyListAbsent":     {"empty and absent are one", "NetworkPolicy", `spec: {ingress: []}`, `spec: {}`, true},
		"AbsentEmptyMap":      {"in both directions", "NetworkPolicy", `spec: {}`, `spec: {podSelector: {}}`, true},
		"AbsentEmptyList":     {"in both directions", "RoleBinding", `roleRef: {name: a}`, `roleRef: {name: a, subjects: []}`, true},
		"EmptyNull":           {"null is absent", "NetworkPolicy", `spec: {podSelector: {}}`, `spec: {podSelector: null}`, true},
		"EmptyIsNotText":      {"an empty map is no text", "NetworkPolicy", `spec: {podSelector: {}}`, `spec: {podSelector: a}`, true},
		"ListLonger":          {"a list is never partly ours", "NetworkPolicy", `spec: {ingress: [{}]}`, `spec: {ingress: [{}, {}]}`, false},
		"ListShorter":         {"nor half there", "NetworkPolicy", `spec: {ingress: [{}, {}]}`, `spec: {ingress: [{}]}`, false},
		"ListLongerInOpen":    {"not even in a claim", "PersistentVolumeClaim", `spec: {accessModes: [a]}`, `spec: {accessModes: [a, b]}`, false},
		"ListOrder":           {"a list is ordered", "NetworkPolicy", `spec: {policyTypes: [Ingress, Egress]}`, `spec: {policyTypes: [Egress, Ingress]}`, false},
		"OpenRule":            {"the empty rule, which opens all, is not the absent one", "NetworkPolicy", `spec: {ingress: [{from: [{podSelector: {}}]}]}`, `spec: {ingress: [{}]}`, false},
		"OpenRuleWanted":      {"and the other way round", "NetworkPolicy", `spec: {ingress: [{}]}`, `spec: {ingress: [{from: [{podSelector: {}}]}]}`, false},
		"ListIsNoMap":         {"types differ", "NetworkPolicy", `spec: {ingress: [a]}`, `spec: {ingress: {a: b}}`, false},
		"MapIsNoText":         {"types differ", "NetworkPolicy", `spec: {ingress: {a: b}}`, `spec: {ingress: a}`, false},
		"False":               {"false is a value, and nobody else's to say", "ServiceAccount", `automountServiceAccountToken: false`, `{}`, false},
		"AddedFalse":          {"what says false is more than nothing", "NetworkPolicy", `spec: {}`, `spec: {flag: false}`, false},
		"Status":              {"what we do not name at the top is others'", "ResourceQuota", `spec: {hard: {a: "1"}}`, "spec: {hard: {a: \"1\"}}\nstatus: {used: {a: \"1\"}}", true},
		"Secrets":             {"so is what else an account has", "ServiceAccount", `automountServiceAccountToken: false`, "automountServiceAccountToken: false\nsecrets: [{name: a}]", true},
		"ForeignMetadata":     {"labels and annotations of others are theirs", "NetworkPolicy", `metadata: {labels: {a: b}}`, `metadata: {labels: {a: b, c: d}, annotations: {e: f}, finalizers: [g], uid: h}`, true},
		"ChangedLabel":        {"ours are ours", "NetworkPolicy", `metadata: {labels: {a: b}}`, `metadata: {labels: {a: c}}`, false},
		"RemovedLabel":        {"ours are ours", "NetworkPolicy", `metadata: {labels: {a: b}}`, `metadata: {}`, false},
		"TypeOfCachedObjects": {"typed objects do not say what they are", "NetworkPolicy", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy", `{}`, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := matches(tc.kind, parsed(t, tc.want), parsed(t, tc.live)); got != tc.match {
				t.Errorf("%s: matches is %v, want %v", tc.reason, got, tc.match)
			}
		})
	}
}

// FuzzMatches holds for any two contents: a content matches itself, and an exact match holds in both directions.
func FuzzMatches(f *testing.F) {
	f.Add(`{"spec":{"a":[{"b":{}}]}}`, `{"spec":{"a":[{}]}}`)
	f.Add(`{"spec":{"a":{}}}`, `{"spec":null}`)
	f.Add(`{"spec":{"a":""}}`, `{"spec":{"a":{}}}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		var x, y map[string]any
		if yaml.Unmarshal([]byte(a), &x) != nil || yaml.Unmarshal([]byte(b), &y) != nil {
			t.Skip()
		}
		if !contains(x, x, true) {
			t.Errorf("%s does not match itself", a)
		}
		if !contains(x, y, true) || contains(x, y, false) {
			return
		}
		t.Errorf("%s matches %s exactly and not loosely", a, b)
	})
}
