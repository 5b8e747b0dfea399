package stack

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// past makes runs of "Plan:a:+d1 10m" words: operation, inputs, then how it ended (ok: nothing planned; +d: a plan of that digest; !Class: a
// failure), and how long ago.
func past(t *testing.T, story string) (out []*v1alpha1.StackRun) {
	t.Helper()
	for line := range strings.SplitSeq(story, ",") {
		var what, ago string
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "%s %s", &what, &ago); n != 2 {
			continue
		}
		words := strings.Split(what, ":")
		before, err := time.ParseDuration(ago)
		if err != nil || len(words) != 3 {
			t.Fatalf("%q: %v", line, err)
		}
		attempt := int32(len(out) + 1) //nolint:gosec // a handful
		one := &v1alpha1.StackRun{ObjectMeta: metav1.ObjectMeta{Name: runName("s", attempt), Annotations: map[string]string{annotationCredentials: "c"}}}
		one.Spec = v1alpha1.StackRunSpec{Operation: v1alpha1.Operation(words[0]), Inputs: words[1], Attempt: attempt}
		one.Status = v1alpha1.StackRunStatus{Phase: v1alpha1.RunSucceeded, FinishedAt: &metav1.Time{Time: noon.Add(-before)}, Plan: &v1alpha1.PlanSummary{}}
		switch end := words[2]; end[0] {
		case '!':
			one.Status.Phase, one.Status.Plan = v1alpha1.RunFailed, nil
			one.Status.Failure = &v1alpha1.RunFailure{Class: v1alpha1.FailureClass(end[1:]), Message: "why"}
			if one.Spec.Operation == v1alpha1.OperationApply {
				one.Spec.PlanRun = runName("s", attempt-1)
			}
		case '+':
			one.Status.Plan = &v1alpha1.PlanSummary{Adds: 1, Digest: v1alpha1.Digest(end[1:])}
		}
		out = append(out, one)
	}
	return out
}

// told is a step as one reads it: an operation, or a verdict, and when to look again.
func told(step Step) string {
	var wait *outcome.Wait
	var stalled *outcome.Stall
	switch {
	case step.Operation != "":
		return strings.TrimSpace(string(step.Operation) + " " + step.Revision)
	case errors.As(step.Verdict, &wait):
		return "wait " + wait.Reason + " " + step.After.String()
	case errors.As(step.Verdict, &stalled):
		return "stall " + stalled.Reason
	}
	return "rest " + step.After.String()
}

func TestNext(t *testing.T) {
	t.Parallel()
	approved := func(digest v1alpha1.Digest) func(*v1alpha1.Stack) {
		return func(s *v1alpha1.Stack) { s.Spec.ApprovedPlan = digest }
	}
	auto := func(s *v1alpha1.Stack) { s.Spec.Approval = v1alpha1.ApprovalAutomatic }
	hourly := func(action v1alpha1.DriftAction) func(*v1alpha1.Stack) {
		return func(s *v1alpha1.Stack) { s.Spec.Drift = &v1alpha1.Drift{EveryHours: 1, Action: action} }
	}
	const commit = "0123456789012345678901234567890123456789"
	branch := func(s *v1alpha1.Stack) {
		s.Spec.Source = v1alpha1.StackSource{Git: &v1alpha1.GitSource{URL: "https://git.example/x", Revision: "main"}}
		if s.Status.Applied != nil {
			s.Status.Applied.Revision = commit
		}
	}
	for name, row := range map[string]struct {
		reason string
		past   string
		edit   []func(*v1alpha1.Stack)
		want   string
	}{
		"new":                {"a plan comes first", "", nil, "Plan"},
		"new, automatic":     {"nobody needs to approve", "", []func(*v1alpha1.Stack){auto}, "Converge"},
		"planned":            {"it waits as long as a plan lives", "Plan:a:+d 1h", nil, "wait AwaitingApproval 23h0m0s"},
		"approved":           {"now it is applied", "Plan:a:+d 1h", []func(*v1alpha1.Stack){approved("d")}, "Apply"},
		"another approved":   {"that plan is none of ours", "Plan:a:+d 1h", []func(*v1alpha1.Stack){approved("e")}, "wait AwaitingApproval 23h0m0s"},
		"approved too late":  {"what it was made of may have moved", "Plan:a:+d 24h", []func(*v1alpha1.Stack){approved("d")}, "Plan"},
		"approved, changed":  {"the plan is of other inputs", "Plan:b:+d 1h", []func(*v1alpha1.Stack){approved("d")}, "Plan"},
		"approved, used":     {"an approval counts once", "Plan:a:+d 1h", []func(*v1alpha1.Stack){approved("d"), func(s *v1alpha1.Stack) { s.Status.Approved = "d" }}, "wait AwaitingApproval 23h0m0s"},
		"became automatic":   {"nobody needs to approve any more", "Plan:a:+d 1h", []func(*v1alpha1.Stack){auto}, "Converge"},
		"nothing to do":      {"a plan of nothing is as good as applied", "Plan:a:ok 1h", nil, "rest 0s"},
		"applied":            {"all is done", "Plan:a:+d 2h, Apply:a:+d 1h", nil, "rest 0s"},
		"applied, changed":   {"other inputs, another plan", "Plan:b:+d 2h, Apply:b:+d 1h", nil, "Plan"},
		"changed and back":   {"what was planned meanwhile is forgotten", "Apply:a:+d 2h, Plan:b:+e 1h", nil, "rest 0s"},
		"half applied, back": {"nobody knows what was done", "Apply:a:+d 3h, Plan:b:+e 2h, Apply:b:!Engine 1h", nil, "Plan"},
		"refused, back":      {"nothing was done", "Converge:a:+d 3h, Converge:b:!Refused 1h", []func(*v1alpha1.Stack){auto}, "rest 0s"},
		"lost":               {"what it did is found out by a plan, in a while", "Plan:a:+d 1h, Apply:a:!Lost 10s", []func(*v1alpha1.Stack){approved("d")}, "wait RunLost 20s"},
		"lost, later":        {"a plan, never the same again", "Plan:a:+d 1h, Apply:a:!Lost 40s", []func(*v1alpha1.Stack){approved("d")}, "Plan"},
		"broker away":        {"its plan was not used", "Plan:a:+d 1h, Apply:a:!Infrastructure 40s", []func(*v1alpha1.Stack){approved("d")}, "Apply"},
		"broker away, no":    {"the approval was taken back", "Plan:a:+d 1h, Apply:a:!Infrastructure 40s", nil, "Plan"},
		"out of date":        {"a new plan at once", "Plan:a:+d 1h, Apply:a:!OutOfDate 1s", []func(*v1alpha1.Stack){approved("d")}, "Plan"},
		"failing on":         {"ever later", "Converge:a:!Engine 3h, Converge:a:!Engine 2h, Converge:a:!Engine 10s", []func(*v1alpha1.Stack){auto}, "wait RunFailed 1m50s"},
		"failing, changed":   {"other inputs begin anew", "Converge:b:!Engine 10s", []func(*v1alpha1.Stack){auto}, "Converge"},
		"bad source":         {"its author's turn", "Plan:a:!Source 2h", nil, "stall InvalidSource"},
		"bad branch":         {"it may have moved", "Plan:a:!Source 1h", []func(*v1alpha1.Stack){branch}, "Plan"},
		"bad branch, early":  {"not yet", "Plan:a:!Source 59m", []func(*v1alpha1.Stack){branch}, "stall InvalidSource"},
		"asked":              {"people want a plan", "Apply:a:+d 1h", []func(*v1alpha1.Stack){func(s *v1alpha1.Stack) { s.Annotations = map[string]string{annotationReplan: "1"} }}, "Plan"},
		"look due":           {"an hour and a tenth", "Apply:a:+d 67m", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftReport)}, "Look"},
		"look failed":        {"it is tried again sooner", "Apply:a:+d 9h, Look:a:!Engine 10s", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftReport)}, "rest 20s"},
		"drifted":            {"it is only said", "Apply:a:+d 9h, Look:a:+x 67m", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftReport)}, "Look"},
		"drifted, replan":    {"a plan to approve", "Apply:a:+d 9h, Look:a:+x 1m", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftReplan)}, "Plan"},
		"drifted, planned":   {"it waits", "Apply:a:+d 9h, Look:a:+x 1h, Plan:a:+x 1h", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftReplan)}, "wait AwaitingApproval 23h0m0s"},
		"drifted, repair":    {"what was approved, not what the branch is today", "Apply:a:+d 9h, Look:a:+x 1m", []func(*v1alpha1.Stack){hourly(v1alpha1.DriftApply), branch}, "Converge " + commit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := past(t, row.past)
			s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "u"}}
			tell(s, runs)
			for _, edit := range row.edit {
				edit(s)
			}
			if got := told(next(s, read(s, runs), inputs{all: "a", credentials: "c"}, noon)); got != row.want {
				t.Errorf("%s: %s, want %s", row.reason, got, row.want)
			}
		})
	}
}

// TestTell tells twice the same, whatever the runs.
func TestTell(t *testing.T) {
	t.Parallel()
	runs := past(t, "Plan:a:+d 9h, Apply:a:+d 8h, Look:a:+x 7h, Plan:a:+x 6h, Apply:a:!Lost 5h, Plan:a:ok 4h, Look:a:ok 3h")
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "u"}}
	s.Spec.Drift = &v1alpha1.Drift{EveryHours: 1}
	tell(s, runs)
	again := s.DeepCopy()
	tell(again, runs)
	if !equality.Semantic.DeepEqual(s.Status, again.Status) {
		t.Errorf("once %+v, then %+v", s.Status, again.Status)
	}
	if a := s.Status.Applied; a.Run != "s-6" || a.Digest != "d" || s.Status.Plan.Run != "s-6" || s.Status.Drift.Since != nil || s.Status.Run != "s-7" {
		t.Errorf("%+v, %+v", a, s.Status)
	}
	tell(again, runs[5:]) // what is kept no longer
	if !equality.Semantic.DeepEqual(s.Status, again.Status) {
		t.Errorf("of all %+v, of the last %+v", s.Status, again.Status)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{1: 30 * time.Second, 2: time.Minute, 7: 32 * time.Minute, 8: time.Hour, 1000: time.Hour} {
		if got := backoff(n); got != want {
			t.Errorf("after %d failures %s, want %s", n, got, want)
		}
	}
	d := &v1alpha1.Drift{EveryHours: 10}
	for _, uid := range []types.UID{"a", "b", "c", "d"} {
		if at := due(d, uid, noon); at.Before(noon.Add(10*time.Hour)) || at.After(noon.Add(11*time.Hour)) {
			t.Errorf("%s is due at %s", uid, at)
		}
	}
}
