package stack

import (
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
)

const (
	// firstRetry and lastRetry bound the time between a failure and the next attempt, which doubles from one to the next.
	firstRetry = 30 * time.Second
	lastRetry  = time.Hour

	// planLife is how long a plan may wait for its approval.
	planLife = 24 * time.Hour
	// branchRetry is how often a source that stalls is tried again where its revision may have moved.
	branchRetry = time.Hour
	// secretsLook is how often a settled stack is looked at for a Secret of its that changed: we may read Secrets, and not list them.
	secretsLook = 5 * time.Minute
	// beatLook is how often a stack with a run is looked at though nothing is heard of it.
	beatLook = time.Minute
	// soon is when to go on with what had to stand in the status first.
	soon = 100 * time.Millisecond
	// roomPatience is how long a Job may be without a pod before we say that there is no room for one.
	roomPatience = 15 * time.Second
)

// backoff is how long after the n-th failure in a row the next attempt is made.
func backoff(n int) time.Duration {
	wait := firstRetry
	for range n - 1 {
		if wait *= 2; wait >= lastRetry {
			return lastRetry
		}
	}
	return wait
}

// due is when to look for drift: some time after what was applied or looked at last, put off by up to a tenth of the interval, the same
// for the same stack.
func due(d *v1alpha1.Drift, uid types.UID, last time.Time) time.Time {
	interval := time.Duration(d.EveryHours) * time.Hour
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // it never fails
	return last.Add(interval + time.Duration(h.Sum32()%1000)*interval/10000)
}
