package condition_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// verdicts are the three that exclude each other, and what kstatus makes of each.
var verdicts = map[string]struct {
	reason string
	set    func(o condition.Object)
	want   []metav1.Condition
	health string
}{
	"Succeed": {
		reason: "Ready alone means done",
		set:    func(o condition.Object) { condition.Succeed(o, "done") },
		want:   []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "done"}},
		health: "Current",
	},
	"Progress": {
		reason: "nobody is needed",
		set:    func(o condition.Object) { condition.Progress(o, "Deleting", "on the way") },
		want: []metav1.Condition{
			{Type: "Ready", Status: "False", Reason: "Deleting", Message: "on the way"},
			{Type: "Reconciling", Status: "True", Reason: "Deleting", Message: "on the way"},
		},
		health: "InProgress",
	},
	"Stall": {
		reason: "only a person can help",
		set:    func(o condition.Object) { condition.Stall(o, "NamespaceConflict", "delete it") },
		want: []metav1.Condition{
			{Type: "Ready", Status: "False", Reason: "NamespaceConflict", Message: "delete it"},
			{Type: "Stalled", Status: "True", Reason: "NamespaceConflict", Message: "delete it"},
		},
		health: "Failed",
	},
}

// TestVerdictsExcludeEachOther goes from every verdict to every other one, with a report of the kind's own beside them.
func TestVerdictsExcludeEachOther(t *testing.T) {
	for from, before := range verdicts {
		for to, after := range verdicts {
			t.Run(from+" to "+to, func(t *testing.T) {
				o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Generation: 4}}
				condition.Report(o, v1alpha1.ConditionMember, true, "Succeeded", "")
				before.set(o)
				o.Generation = 5
				after.set(o)
				own := metav1.Condition{Type: "Member", Status: "True", Reason: "Succeeded", ObservedGeneration: 4}
				want := []metav1.Condition{own}
				for _, c := range after.want {
					c.ObservedGeneration = 5
					want = append(want, c)
				}
				if diff := cmp.Diff(want, o.Status.Conditions, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", after.reason, diff)
				}
				if got := kstatus(o); got != after.health {
					t.Errorf("kstatus says %s, want %s", got, after.health)
				}
			})
		}
	}
}

// kstatus judges as sigs.k8s.io/cli-utils does with kinds that it does not know: the rules that kubectl, Flux and Argo CD share.
func kstatus(o condition.Object) string {
	if !o.GetDeletionTimestamp().IsZero() {
		return "Terminating"
	}
	if o.GetObservedGeneration() != o.GetGeneration() {
		return "InProgress"
	}
	all := *o.GetConditions()
	if meta.IsStatusConditionTrue(all, "Reconciling") {
		return "InProgress"
	}
	if meta.IsStatusConditionTrue(all, "Stalled") {
		return "Failed"
	}
	if ready := meta.FindStatusCondition(all, "Ready"); ready != nil && ready.Status != metav1.ConditionTrue {
		return "InProgress"
	}
	return "Current"
}

func TestUnseenObjectIsNotReady(t *testing.T) {
	cases := map[string]struct {
		reason string
		object *v1alpha1.Workspace
		want   string
	}{
		"Defaulted": {
			reason: "the schema's default of -1 keeps an object without conditions from looking ready",
			object: &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: v1alpha1.WorkspaceStatus{ObservedGeneration: -1}},
			want:   "InProgress",
		},
		"Edited": {
			reason: "an edit that nobody has looked at takes readiness away",
			object: func() *v1alpha1.Workspace {
				w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
				condition.Succeed(w, "")
				w.Generation = 2
				return w
			}(),
			want: "InProgress",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := kstatus(tc.object); got != tc.want {
				t.Errorf("%s: kstatus says %s, want %s", tc.reason, got, tc.want)
			}
			if condition.True(tc.object, v1alpha1.ConditionReady) {
				t.Errorf("%s: True says that it is ready", tc.reason)
			}
		})
	}
}

// TestLastTransitionTime proves in virtual time that the time moves with the status and with nothing else.
func TestLastTransitionTime(t *testing.T) {
	steps := []struct {
		reason string
		act    func(o condition.Object)
		moved  []string
	}{
		{"the first verdict is a change", func(o condition.Object) { condition.Progress(o, "Deleting", "a") }, []string{"Ready", "Reconciling"}},
		{"the same again is none", func(o condition.Object) { condition.Progress(o, "Deleting", "a") }, nil},
		{"another message is none", func(o condition.Object) { condition.Progress(o, "Deleting", "b") }, nil},
		{"another reason is none", func(o condition.Object) { condition.Progress(o, "Retrying", "b") }, nil},
		{"another generation is none", func(o condition.Object) { o.SetGeneration(9); condition.Progress(o, "Retrying", "b") }, nil},
		{"to stalled Ready stays False", func(o condition.Object) { condition.Stall(o, "NamespaceConflict", "c") }, []string{"Stalled"}},
		{"stalled again is none", func(o condition.Object) { condition.Stall(o, "NamespaceConflict", "c") }, nil},
		{"ready is a change", func(o condition.Object) { condition.Succeed(o, "d") }, []string{"Ready"}},
		{"ready again is none", func(o condition.Object) { condition.Succeed(o, "e") }, nil},
		{"no longer ready is a change", func(o condition.Object) { condition.Stall(o, "NamespaceConflict", "f") }, []string{"Ready", "Stalled"}},
		{"a report has a time of its own", func(o condition.Object) { condition.Report(o, "Member", true, "Succeeded", "") }, []string{"Member"}},
		{"the same answer is none", func(o condition.Object) { condition.Report(o, "Member", true, "Succeeded", "") }, nil},
		{"another answer is a change", func(o condition.Object) { condition.Report(o, "Member", false, "Succeeded", "") }, []string{"Member"}},
	}
	synctest.Test(t, func(t *testing.T) {
		o := &v1alpha1.Tenant{}
		for _, step := range steps {
			time.Sleep(time.Minute)
			step.act(o)
			var moved []string
			for _, c := range o.Status.Conditions {
				if c.LastTransitionTime.Time.Equal(time.Now()) {
					moved = append(moved, c.Type)
				}
			}
			if diff := cmp.Diff(step.moved, moved); diff != "" {
				t.Errorf("%s: times moved (-want +got):\n%s", step.reason, diff)
			}
		}
	})
}

// TestOrderIsStable sets reports in every order: the stored list, and so a semantic comparison of two objects, is the same.
func TestOrderIsStable(t *testing.T) {
	kinds := []string{"Member", "CodesUnique", "DomainsUnique", "ConsortiumFound"}
	want := []string{"CodesUnique", "ConsortiumFound", "DomainsUnique", "Member", "Ready", "Stalled"}
	for i := range kinds {
		for j := range kinds {
			shuffled := slices.Clone(kinds)
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			o := &v1alpha1.Tenant{}
			condition.Stall(o, "NamespaceConflict", "")
			for _, kind := range shuffled {
				condition.Report(o, kind, false, "Succeeded", "")
			}
			if diff := cmp.Diff(want, typesOf(o)); diff != "" {
				t.Errorf("set in order %v (-want +got):\n%s", shuffled, diff)
			}
		}
	}
}

func typesOf(o condition.Object) (out []string) {
	for _, c := range *o.GetConditions() {
		out = append(out, c.Type)
	}
	return out
}

func TestReport(t *testing.T) {
	o := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	condition.Succeed(o, "")
	condition.Report(o, v1alpha1.ConditionVolumesBound, false, v1alpha1.ReasonVolumesPending, "waits")
	if !condition.True(o, v1alpha1.ConditionReady) || o.Status.ObservedGeneration != 2 {
		t.Error("a report changed the verdict")
	}
	if condition.True(o, v1alpha1.ConditionVolumesBound) || condition.True(o, "Unheard") {
		t.Error("what is False or absent is called True")
	}
	condition.Report(o, v1alpha1.ConditionVolumesBound, true, v1alpha1.ReasonSucceeded, "")
	if !condition.True(o, v1alpha1.ConditionVolumesBound) {
		t.Error("a report with the answer yes is not True")
	}
	condition.Doubt(o, v1alpha1.ConditionNetworkEnforced, v1alpha1.ReasonNotProven, "nobody looked")
	if c := meta.FindStatusCondition(*o.GetConditions(), v1alpha1.ConditionNetworkEnforced); c == nil || c.Status != metav1.ConditionUnknown {
		t.Errorf("a doubt is not Unknown: %+v", c)
	}
	if condition.True(o, v1alpha1.ConditionNetworkEnforced) || !condition.True(o, v1alpha1.ConditionReady) {
		t.Error("a doubt is called True, or changed the verdict")
	}
	condition.Withdraw(o, v1alpha1.ConditionNetworkEnforced)
	o.Generation = 3
	if condition.True(o, v1alpha1.ConditionVolumesBound) {
		t.Error("an answer about an older spec is taken for one about this spec")
	}
	condition.Withdraw(o, v1alpha1.ConditionVolumesBound)
	if got := typesOf(o); !slices.Equal(got, []string{"Ready"}) {
		t.Errorf("conditions %v after the withdrawal, want only Ready", got)
	}
	condition.Withdraw(o, v1alpha1.ConditionVolumesBound) // of what is not there
}

// message is what a condition shows of a text.
func message(text string) string {
	o := &v1alpha1.Tenant{}
	condition.Stall(o, "NamespaceConflict", text)
	return o.Status.Conditions[0].Message
}

func TestMessages(t *testing.T) {
	cases := map[string]struct{ reason, text, want string }{
		"Plain":         {"what is fine stays", "namespace città is ready", "namespace città is ready"},
		"Controls":      {"a terminal obeys control characters", "a\x1b[31mb\x00c\x7fd\u0085e", "a [31mb c d e"},
		"Lines":         {"a message is one line", "a\nb\r\nc\td", "a b  c d"},
		"Separators":    {"Unicode has line ends of its own", "a\u2028b\u2029c", "a b c"},
		"Bidirectional": {"a text that reads another way than it is written", "user\u202egnp.exe\u2066x\u2069\u200f", "user gnp.exe x  "},
		"Invisible":     {"two names that look alike", "lu\u200bga\u2060no\ufeff\u00ad", "lu ga no  "},
		"Invalid":       {"the API server refuses what is not UTF-8", "a\xff\xfeb\xc3", "a?b?"},
		"Full":          {"what just fits is not cut", strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		"Long":          {"what does not fit ends in an ellipsis", strings.Repeat("x", 1025), strings.Repeat("x", 1021) + "…"},
		"LongRunes":     {"the cut is between characters", strings.Repeat("é", 600), strings.Repeat("é", 510) + "…"},
		"LongFourBytes": {"the cut is between characters of any width", strings.Repeat("🏛", 300), strings.Repeat("🏛", 255) + "…"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, message(tc.text)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
	if got := fmt.Sprint(len(message(strings.Repeat("é", 600)))); got != "1023" {
		t.Errorf("a cut message has %s bytes, want 1023", got)
	}
}
