package backup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/hooks"
)

func TestRan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 2, 30, 0, 5, time.UTC)
	at := &metav1.Time{Time: now.Truncate(time.Second)}
	none := fmt.Errorf("%w with the labels app=db", hooks.ErrNoPod)
	for name, c := range map[string]struct {
		before, after error
		want          v1alpha1.HookRun
	}{
		"Done":    {nil, nil, v1alpha1.HookRun{Before: v1alpha1.HookDone, After: v1alpha1.HookDone}},
		"Skipped": {none, none, v1alpha1.HookRun{Before: v1alpha1.HookSkipped, After: v1alpha1.HookSkipped, Message: "before: no pod runs with the labels app=db; after: no pod runs with the labels app=db"}},
		"Failed":  {errors.New("full"), nil, v1alpha1.HookRun{Before: v1alpha1.HookFailed, After: v1alpha1.HookDone, Message: "before: full", FailedAt: at}},
		"After":   {nil, errors.New("full"), v1alpha1.HookRun{Before: v1alpha1.HookDone, After: v1alpha1.HookFailed, Message: "after: full"}},
		"Long": {errors.New(strings.Repeat("à", 2000)), nil, v1alpha1.HookRun{
			Before: v1alpha1.HookFailed, After: v1alpha1.HookDone, Message: "before: " + strings.Repeat("à", (hookMessage-8)/2), FailedAt: at,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := []v1alpha1.HookRun{{Name: "other", Before: v1alpha1.HookDone, After: v1alpha1.HookDone}}
			ran(&all, "dump", false, c.before, now)
			if !owes(all) {
				t.Error("nothing is owed after what was run before")
			}
			if (failed(all) != nil) != (c.want.Before == v1alpha1.HookFailed) {
				t.Errorf("the verdict is %v", failed(all))
			}
			ran(&all, "dump", true, c.after, now)
			c.want.Name = "dump"
			if diff := cmp.Diff(c.want, all[1]); diff != "" || owes(all) {
				t.Errorf("owes %t (-want +got):\n%s", owes(all), diff)
			}
		})
	}
}

// A clock that lies holds no backup back for ever.
func TestResting(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 2, 30, 0, 0, time.UTC)
	for after, want := range map[time.Duration]bool{0: true, 4 * time.Minute: true, hookPause: false, -time.Minute: true, -24 * time.Hour: false} {
		all := []v1alpha1.HookRun{{Name: "dump", Before: v1alpha1.HookFailed, FailedAt: &metav1.Time{Time: now.Add(-after)}}}
		if resting(all, now) != want {
			t.Errorf("%s after a failure it rests: %t", after, !want)
		}
	}
}
