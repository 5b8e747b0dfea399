package isolation

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func at(second int64) time.Time {
	if second == 0 {
		return time.Time{}
	}
	return time.Unix(1_800_000_000+second, 0)
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		reason    string
		good, bad []int64
		met       bool
		since     int64
	}{
		"nothing found":       {"there was nothing to find fault with", nil, nil, true, 0},
		"met":                 {"all hold together only since the last of them does", []int64{3, 9, 5}, nil, true, 9},
		"met by absence":      {"what is not there leaves no time", []int64{3, 0}, nil, true, 3},
		"not met":             {"one that is wrong is enough, so the first counts", []int64{1}, []int64{8, 4, 6}, false, 4},
		"not met, of absence": {"when what is missing went, nothing tells", []int64{1}, []int64{0}, false, 0},
		"not met, of both":    {"what is there and wrong tells at least", []int64{1}, []int64{0, 7}, false, 7},
	} {
		t.Run(name, func(t *testing.T) {
			var f findings
			for _, s := range c.good {
				f.noteAt(true, at(s), "good")
			}
			for _, s := range c.bad {
				f.noteAt(false, at(s), "bad")
			}
			if got := f.verdict(); got.met != c.met || !got.since.Equal(at(c.since)) {
				t.Errorf("%s: met %t since %v, want %t since %v", c.reason, got.met, got.since, c.met, at(c.since))
			}
		})
	}
}

// TestSince follows a check whose facts last changed at second 100 and which was looked at last at second 200; it is second 300.
func TestSince(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		before   *verdict
		now      verdict
		wantTime int64
	}{
		"first look":            {"nothing that it rests on changed since", nil, verdict{met: true, since: at(100)}, 100},
		"first look, no trace":  {"no more is known than that it is so now", nil, verdict{}, 300},
		"stays":                 {"its facts changed, it did not", &verdict{met: true, since: at(50)}, verdict{met: true, since: at(250)}, 50},
		"turns":                 {"the change tells when", &verdict{met: true, since: at(50)}, verdict{since: at(250)}, 250},
		"turns in that second":  {"times of the API server are whole seconds", &verdict{met: true, since: at(50)}, verdict{since: at(200)}, 200},
		"turns by a deletion":   {"no more is known than that it was otherwise at the last look", &verdict{met: true, since: at(50)}, verdict{}, 300},
		"turns by a removal":    {"what is left is older than the last look", &verdict{met: true, since: at(50)}, verdict{since: at(100)}, 300},
		"a clock that is ahead": {"no time lies in the future", nil, verdict{met: true, since: at(400)}, 300},
	} {
		t.Run(name, func(t *testing.T) {
			var before verdict
			if c.before != nil {
				before = *c.before
			}
			got := since(before, c.before != nil, c.now, at(200).Add(400*time.Millisecond), at(300))
			if !got.Equal(at(c.wantTime)) {
				t.Errorf("%s: since %v, want %v", c.reason, got, at(c.wantTime))
			}
		})
	}
}

func TestLastWrite(t *testing.T) {
	entry := func(subresource string, second int64) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: "m", Subresource: subresource, Time: &metav1.Time{Time: at(second)}, FieldsV1: &metav1.FieldsV1{}}
	}
	meta := func(entries ...metav1.ManagedFieldsEntry) metav1.ObjectMeta {
		return metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(10)), ManagedFields: entries}
	}
	for name, c := range map[string]struct {
		reason string
		object client.Object
		want   int64
	}{
		"none":            {"there is no object", nil, 0},
		"never changed":   {"nothing tells of a change", &corev1.Namespace{ObjectMeta: meta()}, 10},
		"changed":         {"the last of several", &corev1.Namespace{ObjectMeta: meta(entry("", 20), entry("", 40), entry("", 30))}, 40},
		"counted":         {"a status is no change", &corev1.ResourceQuota{ObjectMeta: meta(entry("", 20), entry("status", 40))}, 20},
		"of another kind": {"no check rests on it, so it keeps nothing", &rbacv1.RoleBinding{ObjectMeta: meta(entry("", 20))}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the cache transforms what it holds again
				if c.object == nil {
					break
				}
				if out, err := KeepLastWrite(c.object); err != nil || out != any(c.object) {
					t.Fatalf("%v, %v", out, err)
				}
				for _, e := range c.object.GetManagedFields() {
					if e.FieldsV1 != nil || e.Manager != "" || len(c.object.GetManagedFields()) > 1 {
						t.Errorf("kept %+v", c.object.GetManagedFields())
					}
				}
			}
			if got := lastWrite(c.object); !got.Equal(at(c.want)) {
				t.Errorf("%s: %v, want %v", c.reason, got, at(c.want))
			}
		})
	}
	if out, err := KeepLastWrite("no object"); err != nil || out != "no object" {
		t.Errorf("%v, %v", out, err)
	}
}
