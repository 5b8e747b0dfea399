package tenant

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/evidence"
)

func TestEnforced(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	good := func(uid types.UID, age time.Duration) evidence.Node {
		return evidence.Node{UID: uid, Enforced: true, At: now.Add(-age)}
	}
	bad := func(uid types.UID, age time.Duration) evidence.Node {
		return evidence.Node{UID: uid, At: now.Add(-age), Seen: "UDP from a to b passed"}
	}
	two := map[string]types.UID{"a": "ua", "b": "ub"}
	answer := func(status metav1.ConditionStatus, reason, message string) enforcement {
		return enforcement{status: status, reason: reason, message: message}
	}
	unknown := func(reason, message string) enforcement {
		return answer(metav1.ConditionUnknown, reason, message+": run broletto doctor")
	}
	proven := func(until time.Time) enforcement {
		return enforcement{metav1.ConditionTrue, v1alpha1.ReasonProven, "on every node what network policies forbid was seen to be cut", until}
	}
	const remedy = "; install a network plugin that enforces them, or repair it, then run broletto doctor"
	cases := map[string]struct {
		reason  string
		network evidence.Network
		nodes   map[string]types.UID
		want    enforcement
	}{
		"all proven": {
			"the oldest proof decides how long", evidence.Network{"a": good("ua", day), "b": good("ub", 3*day)}, two, proven(now.Add(28 * day)),
		},
		"just made": {
			"a clock that is a little ahead does no harm", evidence.Network{"a": good("ua", 0), "b": good("ub", -time.Minute)}, two, proven(now.Add(31 * day)),
		},
		"more than there is": {
			"a node that has gone is nobody's concern", evidence.Network{"a": good("ua", 0), "b": good("ub", 0), "c": bad("uc", 0)}, two, proven(now.Add(31 * day)),
		},
		"nothing tried": {
			"no evidence", nil, two,
			unknown(v1alpha1.ReasonNotProven, "nobody has tried yet whether the cluster's network enforces network policies"),
		},
		"no nodes": {
			"of nothing all is true", evidence.Network{"a": good("ua", 0)}, nil,
			unknown(v1alpha1.ReasonNotProven, "the cluster has no nodes yet on which its network could be tried"),
		},
		"a new node": {
			"what was not tried is not proven", evidence.Network{"a": good("ua", 0)}, two,
			unknown(v1alpha1.ReasonNodesNotProven, "not tried on node b"),
		},
		"a node made anew": {
			"another machine may have the name", evidence.Network{"a": good("ua", 0), "b": good("before", 0)}, two,
			unknown(v1alpha1.ReasonNodesNotProven, "not tried on node b"),
		},
		"many new nodes": {
			"a message is no list", evidence.Network{"a": good("ua", 0)}, map[string]types.UID{"e": "ue", "c": "uc", "d": "ud", "b": "ub", "a": "ua"},
			unknown(v1alpha1.ReasonNodesNotProven, "not tried on nodes b, c, d and others"),
		},
		"too old": {
			"plugins are upgraded", evidence.Network{"a": good("ua", 31*day), "b": good("ub", 0)}, two,
			unknown(v1alpha1.ReasonEvidenceOutdated, "tried too long ago on node a"),
		},
		"from the future": {
			"nobody has seen that yet", evidence.Network{"a": good("ua", 0), "b": good("ub", -time.Hour)}, two,
			unknown(v1alpha1.ReasonEvidenceUnreadable, "config map network-evidence is not believed; key b is dated in the future"),
		},
		"a hole": {
			"the first is shown", evidence.Network{"a": good("ua", 0), "b": bad("ub", 0)}, two,
			answer(metav1.ConditionFalse, v1alpha1.ReasonNotEnforced, "network policies are not enforced on node b: UDP from a to b passed"+remedy),
		},
		"an old hole": {
			"it does not close by itself", evidence.Network{"a": bad("ua", 300*day), "b": bad("ub", 300*day)}, two,
			answer(metav1.ConditionFalse, v1alpha1.ReasonNotEnforced, "network policies are not enforced on nodes a, b: UDP from a to b passed"+remedy),
		},
		"a hole beside a new node": {
			"the worst counts", evidence.Network{"a": bad("ua", 0)}, two,
			answer(metav1.ConditionFalse, v1alpha1.ReasonNotEnforced, "network policies are not enforced on node a: UDP from a to b passed"+remedy),
		},
		"a hole of a node that has gone": {
			"another node has its name", evidence.Network{"a": bad("before", 0), "b": good("ub", 0)}, two,
			unknown(v1alpha1.ReasonNodesNotProven, "not tried on node a"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			written, err := c.network.ConfigMap("broletto-system")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, enforced(written.Data, c.nodes, now), cmp.AllowUnexported(enforcement{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
	for uid, want := range map[types.UID]bool{"same": false, "another": true} {
		update := event.UpdateEvent{
			ObjectOld: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "same"}},
			ObjectNew: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: uid, Labels: map[string]string{"news": "none"}}},
		}
		if got := cameOrWent.Update(update); got != want {
			t.Errorf("an update of a node, uid %s: passed %t, want %t", uid, got, want)
		}
	}
	t.Run("nonsense", func(t *testing.T) {
		got := enforced(map[string]string{"a": "enforced: true", "b": "yes"}, two, now)
		if got.status != metav1.ConditionUnknown || got.reason != v1alpha1.ReasonEvidenceUnreadable {
			t.Errorf("it is believed: %+v", got)
		}
	})
}
