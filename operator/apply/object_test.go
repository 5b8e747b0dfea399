package apply

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
)

func TestParseRef(t *testing.T) {
	cases := map[string]struct {
		reason, text string
		want         Ref
		ok           bool
	}{
		"Core":         {"the core group has no name", "ServiceAccount/v1/default", Ref{"ServiceAccount", "v1", "default"}, true},
		"Group":        {"an apiVersion holds a slash", "NetworkPolicy/networking.k8s.io/v1/default-deny", Ref{"NetworkPolicy", "networking.k8s.io/v1", "default-deny"}, true},
		"Dots":         {"names may hold dots", "RoleBinding/rbac.authorization.k8s.io/v1/a.b", Ref{"RoleBinding", "rbac.authorization.k8s.io/v1", "a.b"}, true},
		"Colons":       {"names of rights hold colons", "RoleBinding/rbac.authorization.k8s.io/v1/system:x", Ref{"RoleBinding", "rbac.authorization.k8s.io/v1", "system:x"}, true},
		"Empty":        {"no parts", "", Ref{}, false},
		"NoSlash":      {"no parts", "ServiceAccount", Ref{}, false},
		"NoName":       {"two parts", "ServiceAccount/v1", Ref{}, false},
		"EmptyName":    {"an empty part", "ServiceAccount/v1/", Ref{}, false},
		"EmptyKind":    {"an empty part", "/v1/default", Ref{}, false},
		"EmptyVersion": {"an empty part", "ServiceAccount//default", Ref{}, false},
		"Slashes":      {"nothing but separators", "///", Ref{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := parseRef(tc.text)
			if ok != tc.ok || (ok && got != tc.want) {
				t.Errorf("%s: got %+v, %v; want %+v, %v", tc.reason, got, ok, tc.want, tc.ok)
			}
		})
	}
}

// FuzzParseRef reads any text: no panic, no empty part, and what was read writes the same text again.
func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"ServiceAccount/v1/default", "NetworkPolicy/networking.k8s.io/v1/default-deny", "", "/", "a//b", "a/b/", "//b", "à/é/ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, ok := parseRef(text)
		if !ok {
			return
		}
		if ref.Kind == "" || ref.APIVersion == "" || ref.Name == "" || strings.Contains(ref.Kind, "/") || strings.Contains(ref.Name, "/") {
			t.Errorf("%q gives %+v", text, ref)
		}
		if again := ref.String(); again != text {
			t.Errorf("%q became %q", text, again)
		}
	})
}

// FuzzInventory reads any annotation: what is readable in it is written and read again the same, sorted and once.
func FuzzInventory(f *testing.F) {
	f.Add("ServiceAccount/v1/default NetworkPolicy/networking.k8s.io/v1/default-deny")
	f.Add("b/v1/b a/v1/a b/v1/b  nonsense")
	f.Add("a/v1/b\u2003c/v1/d")
	f.Fuzz(func(t *testing.T, text string) {
		root := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationInventory: text}}}
		read := union(Inventory(root), Inventory(root))
		root.Annotations = withInventory(read)
		if diff := cmp.Diff(read, Inventory(root)); diff != "" {
			t.Errorf("%q (-read +read again):\n%s", text, diff)
		}
		for i := range read {
			if i > 0 && read[i-1].String() >= read[i].String() {
				t.Errorf("%v comes before %v", read[i-1], read[i])
			}
		}
	})
}

const ownerUID types.UID = "0b4e1d3c-7d3c-4a52-9c0a-1f5f4d6e2a11"

// TestStamp looks at what is sent for an apply configuration.
func TestStamp(t *testing.T) {
	stamped := func(o Object, notes map[string]string) (desired, string) {
		t.Helper()
		d, err := stamp(o, ownerUID, notes)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(d.content)
		if err != nil {
			t.Fatal(err)
		}
		return d, string(text)
	}
	plain := func() Object { return networkingv1ac.NetworkPolicy("granted", "lugano") }
	d, text := stamped(plain(), nil)
	want := `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"annotations":{"broletto.dev/applied":"DIGEST"},` +
		`"labels":{"broletto.dev/owner":"` + string(ownerUID) + `"},"name":"granted","namespace":"lugano"}}`
	digest := digestOf(d)
	if diff := cmp.Diff(want, strings.Replace(text, digest, "DIGEST", 1)); diff != "" || len(digest) != 16 {
		t.Errorf("digest %q (-want +got):\n%s", digest, diff)
	}
	if d.Ref != (Ref{"NetworkPolicy", "networking.k8s.io/v1", "granted"}) || d.namespace != "lugano" {
		t.Errorf("it is told to be %+v in %q", d.Ref, d.namespace)
	}
	if _, again := stamped(plain(), nil); again != text {
		t.Errorf("the same twice:\n%s\n%s", text, again)
	}
	for reason, other := range map[string]Object{
		"another content":   networkingv1ac.NetworkPolicy("granted", "lugano").WithSpec(networkingv1ac.NetworkPolicySpec()),
		"another label":     networkingv1ac.NetworkPolicy("granted", "lugano").WithLabels(map[string]string{"a": "b"}),
		"another namespace": networkingv1ac.NetworkPolicy("granted", "chiasso"),
	} {
		if d, _ := stamped(other, nil); digestOf(d) == digest {
			t.Errorf("%s has the same digest", reason)
		}
	}
	if d, _ := stamped(plain(), map[string]string{annotationInventory: "x"}); digestOf(d) == digest {
		t.Error("another inventory has the same digest")
	}
}

func digestOf(d desired) string {
	metadata, _ := d.content["metadata"].(map[string]any)
	notes, _ := metadata["annotations"].(map[string]any)
	digest, _ := notes[annotationApplied].(string)
	return digest
}

// TestStampKeepsWhatItGets builds an object once and stamps it twice: the second set must not see the first owner's marks.
func TestStampKeepsWhatItGets(t *testing.T) {
	o := corev1ac.Namespace("lugano").WithLabels(map[string]string{"a": "b"}).WithAnnotations(map[string]string{"c": "d"})
	before, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stamp(o, ownerUID, map[string]string{annotationInventory: "x"}); err != nil {
		t.Fatal(err)
	}
	after, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("stamping changed its argument (-before +after):\n%s", diff)
	}
}

// TestOwnerCannotBeChosen has a set's object carry a label of ours: the set's owner wins.
func TestOwnerCannotBeChosen(t *testing.T) {
	d, err := stamp(corev1ac.Namespace("lugano").WithLabels(map[string]string{"broletto.dev/owner": "somebody"}), ownerUID, nil)
	if err != nil {
		t.Fatal(err)
	}
	live := &corev1.Namespace{}
	text, err := json.Marshal(d.content)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, live); err != nil {
		t.Fatal(err)
	}
	if live.Labels["broletto.dev/owner"] != string(ownerUID) {
		t.Errorf("labels %v", live.Labels)
	}
	if !d.sameMind(live) {
		t.Error("an object as we sent it is not of our mind")
	}
}
