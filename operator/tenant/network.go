package tenant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/evidence"
)

// skew is how far apart clocks may be of who wrote the evidence and who reads it.
const skew = 5 * time.Minute

// wayOut is what somebody does who wants to know.
const wayOut = "run broletto doctor"

// enforcement is the answer to whether the network enforces policies. Until is when it changes by itself; zero: never.
type enforcement struct {
	status          metav1.ConditionStatus
	reason, message string
	until           time.Time
}

// network tells the tenant whether the cluster's network is known to enforce policies, and how long that is good for (0: until
// something changes).
func (r *Reconciler) network(ctx context.Context, t *v1alpha1.Tenant) (time.Duration, error) {
	var seen corev1.ConfigMap
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: evidence.Name}, &seen)
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("reading the evidence about the network: %w", err)
	}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return 0, fmt.Errorf("listing nodes: %w", err)
	}
	nodes := map[string]types.UID{}
	for _, node := range list.Items {
		nodes[node.Name] = node.UID
	}
	now := r.Now()
	answer := enforced(seen.Data, nodes, now)
	if answer.status == metav1.ConditionUnknown {
		condition.Doubt(t, v1alpha1.ConditionNetworkEnforced, answer.reason, answer.message)
	} else {
		condition.Report(t, v1alpha1.ConditionNetworkEnforced, answer.status == metav1.ConditionTrue, answer.reason, answer.message)
	}
	if answer.until.IsZero() {
		return 0, nil
	}
	return answer.until.Sub(now), nil
}

// enforced judges the evidence. True wants all of it: every node, as it is now, tried lately. What was seen to pass stays False however
// long ago it was: a hole does not close by itself.
func enforced(data map[string]string, nodes map[string]types.UID, now time.Time) enforcement {
	unknown := func(reason, message string) enforcement {
		return enforcement{status: metav1.ConditionUnknown, reason: reason, message: message + ": " + wayOut}
	}
	if len(nodes) == 0 {
		return unknown(v1alpha1.ReasonNotProven, "the cluster has no nodes yet on which its network could be tried")
	}
	if len(data) == 0 {
		return unknown(v1alpha1.ReasonNotProven, "nobody has tried yet whether the cluster's network enforces network policies")
	}
	known, err := evidence.Read(data)
	if err != nil {
		return unknown(v1alpha1.ReasonEvidenceUnreadable, "config map "+evidence.Name+" is not as broletto doctor writes it and is not believed; "+err.Error())
	}
	var open, missing, old []string
	until := now.Add(evidence.Lifetime)
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		node, tried := known[name]
		expires := node.At.Add(evidence.Lifetime)
		switch {
		case !tried || node.UID != nodes[name]:
			missing = append(missing, name)
		case node.At.After(now.Add(skew)):
			return unknown(v1alpha1.ReasonEvidenceUnreadable, "config map "+evidence.Name+" is not believed; key "+name+" is dated in the future")
		case !node.Enforced:
			open = append(open, name)
		case !expires.After(now):
			old = append(old, name)
		case expires.Before(until):
			until = expires
		}
	}
	switch {
	case len(open) > 0:
		return enforcement{status: metav1.ConditionFalse, reason: v1alpha1.ReasonNotEnforced, message: fmt.Sprintf(
			"network policies are not enforced on %s: %s; install a network plugin that enforces them, or repair it, then %s", some(open), known[open[0]].Seen, wayOut)}
	case len(missing) > 0:
		return unknown(v1alpha1.ReasonNodesNotProven, "not tried on "+some(missing))
	case len(old) > 0:
		return unknown(v1alpha1.ReasonEvidenceOutdated, "tried too long ago on "+some(old))
	default:
		return enforcement{metav1.ConditionTrue, v1alpha1.ReasonProven, "on every node what network policies forbid was seen to be cut", until}
	}
}

// some names the first three nodes.
func some(nodes []string) string {
	if len(nodes) > 3 {
		return "nodes " + strings.Join(nodes[:3], ", ") + " and others"
	}
	if len(nodes) == 1 {
		return "node " + nodes[0]
	}
	return "nodes " + strings.Join(nodes, ", ")
}
