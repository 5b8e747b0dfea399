package backup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

// asked is a backup that a tenant, or a policy of it, asked for in some minute: "lugano/b3" or "lugano/p:b3".
func asked(name string, minute int) *v1alpha1.Backup {
	b := &v1alpha1.Backup{}
	b.Namespace, b.Name, _ = strings.Cut(name, "/")
	if strings.HasPrefix(b.Name, "p:") {
		b.Labels = map[string]string{v1alpha1.LabelPolicy: "p"}
	}
	b.CreationTimestamp = metav1.Time{Time: time.Unix(int64(minute*60), 0)}
	return b
}

// made is one that was made in some minute.
func made(name string, minute int) *v1alpha1.Backup {
	b := asked(name, 0)
	b.Status.VerifiedAt = &metav1.Time{Time: time.Unix(int64(minute*60), 0)}
	return b
}

func failedAt(name string, minute int) *v1alpha1.Backup {
	b := asked(name, 0)
	condition.Stall(b, v1alpha1.ReasonHookFailed, "")
	for i := range b.Status.Conditions {
		b.Status.Conditions[i].LastTransitionTime = metav1.Time{Time: time.Unix(int64(minute*60), 0)}
	}
	return b
}

func calls(line []*v1alpha1.Backup) (out []string) {
	for _, b := range line {
		out = append(out, b.Namespace+"/"+b.Name)
	}
	return out
}

// TestTurns: who comes next, and how many may begin.
func TestTurns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason                 string
		atOnce                 int
		working, done, waiting []*v1alpha1.Backup
		want                   string // a bar is after those that may begin
	}{
		"room":                 {"the oldest first", 4, nil, nil, []*v1alpha1.Backup{asked("b/1", 2), asked("a/1", 1)}, "a/1 b/1 |"},
		"full":                 {"they wait", 2, []*v1alpha1.Backup{asked("c/1", 0), asked("d/1", 0)}, nil, []*v1alpha1.Backup{asked("a/1", 1)}, "| a/1"},
		"lowered":              {"more are at work than may be", 1, []*v1alpha1.Backup{asked("c/1", 0), asked("d/1", 0)}, nil, []*v1alpha1.Backup{asked("a/1", 1)}, "| a/1"},
		"a place":              {"one", 3, []*v1alpha1.Backup{asked("c/1", 0), asked("d/1", 0)}, nil, []*v1alpha1.Backup{asked("a/1", 1), asked("a/2", 2)}, "a/1 | a/2"},
		"round":                {"one of each tenant", 4, nil, nil, []*v1alpha1.Backup{asked("a/1", 1), asked("a/2", 1), asked("a/3", 1), asked("b/1", 2), asked("b/2", 2)}, "a/1 b/1 a/2 b/2 | a/3"},
		"fewest at work":       {"before who waits longer", 3, []*v1alpha1.Backup{asked("a/0", 0), asked("a/1", 0)}, nil, []*v1alpha1.Backup{asked("a/2", 0), asked("b/1", 9)}, "b/1 | a/2"},
		"all of one":           {"a place is kept for another", 4, nil, nil, []*v1alpha1.Backup{asked("a/1", 1), asked("a/2", 2), asked("a/3", 3), asked("a/4", 4)}, "a/1 a/2 a/3 | a/4"},
		"a tenant has its own": {"it waits while there is room", 2, []*v1alpha1.Backup{asked("a/0", 0)}, nil, []*v1alpha1.Backup{asked("a/1", 1)}, "| a/1"},
		"the only place":       {"anybody has it", 1, nil, nil, []*v1alpha1.Backup{asked("a/1", 1), asked("a/2", 2)}, "a/1 | a/2"},
		"served lately":        {"with one place, nobody is at work who could be counted", 1, nil, []*v1alpha1.Backup{made("a/0", 50), made("b/0", 40)}, []*v1alpha1.Backup{asked("a/1", 1), asked("b/1", 9)}, "b/1 | a/1"},
		"never served":         {"the first of all", 1, nil, []*v1alpha1.Backup{made("a/0", 50)}, []*v1alpha1.Backup{asked("a/1", 1), asked("b/1", 9)}, "b/1 | a/1"},
		"failed lately":        {"that was a turn, too", 1, nil, []*v1alpha1.Backup{failedAt("a/0", 50), made("b/0", 40)}, []*v1alpha1.Backup{asked("a/1", 1), asked("b/1", 9)}, "b/1 | a/1"},
		"by hand":              {"it does not wait for all of the night", 1, nil, []*v1alpha1.Backup{made("a/p:0", 50)}, []*v1alpha1.Backup{asked("a/p:1", 1), asked("a/p:2", 1), asked("a/p:3", 1), asked("a/1", 9)}, "a/1 | a/p:1 a/p:2 a/p:3"},
		"by hand, many":        {"nor do policies wait for all of them", 1, nil, []*v1alpha1.Backup{made("a/0", 50)}, []*v1alpha1.Backup{asked("a/1", 1), asked("a/2", 1), asked("a/p:1", 9)}, "a/p:1 | a/1 a/2"},
		"nobody":               {"nothing to do", 4, nil, nil, nil, "|"},
	} {
		t.Run(name, func(t *testing.T) {
			line, now := turns(c.waiting, c.working, slices.Concat(c.working, c.done, c.waiting), c.atOnce)
			got := slices.Insert(calls(line), now, "|")
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s: it is %s, want %s", c.reason, strings.Join(got, " "), c.want)
			}
			rand.Shuffle(len(c.waiting), func(i, j int) { c.waiting[i], c.waiting[j] = c.waiting[j], c.waiting[i] })
			if again, _ := turns(c.waiting, c.working, slices.Concat(c.waiting, c.working, c.done), c.atOnce); !cmp.Equal(calls(again), calls(line)) {
				t.Errorf("in another order of the cache it is %v", calls(again))
			}
		})
	}
}

// TestTurnsAreFair serves tenants of whom one has a hundred backups, with one place and with more.
func TestTurnsAreFair(t *testing.T) {
	t.Parallel()
	for _, atOnce := range []int{1, 2, 4} {
		var waiting, working, all []*v1alpha1.Backup
		for i := range 100 {
			waiting = append(waiting, asked(fmt.Sprint("great/p:", i), 0))
		}
		for i := range 5 {
			waiting = append(waiting, asked(fmt.Sprint("small/p:", i), 1))
		}
		waiting = append(waiting, asked("great/by-hand", 1), asked("one/1", 2))
		all = slices.Clone(waiting)
		var order []string
		for minute := 10; len(waiting) > 0; minute++ {
			line, now := turns(waiting, working, all, atOnce)
			working, waiting = append(working, line[:now]...), line[now:]
			if n := len(working); n == 0 || n > atOnce {
				t.Fatalf("%d are at work, of %d", n, atOnce)
			}
			over := working[0]
			over.Status.VerifiedAt = &metav1.Time{Time: time.Unix(int64(minute*60), 0)}
			order, working = append(order, over.Namespace+"/"+over.Name), working[1:]
		}
		for name, within := range map[string]int{"one/1": 6, "great/by-hand": 9, "small/p:4": 20} {
			if at := slices.Index(order, name); at < 0 || at >= within {
				t.Errorf("with %d places, %s is number %d", atOnce, name, at)
			}
		}
	}
}

// TestBegun: what has a place in the line by its status alone.
func TestBegun(t *testing.T) {
	t.Parallel()
	waits := func(reason string) func(*v1alpha1.Backup) {
		return func(b *v1alpha1.Backup) { condition.Progress(b, reason, "") }
	}
	for name, c := range map[string]struct {
		edit func(*v1alpha1.Backup)
		want bool
	}{
		"new":              {func(*v1alpha1.Backup) {}, false},
		"waiting":          {waits(v1alpha1.ReasonWaiting), false},
		"without a store":  {waits(v1alpha1.ReasonStoreUnreachable), false},
		"between volumes":  {waits(v1alpha1.ReasonMovingVolumes), true},
		"in a hook":        {waits(v1alpha1.ReasonRunningHooks), true},
		"a mover is at it": {func(b *v1alpha1.Backup) { b.Status.Volumes = []v1alpha1.VolumeMove{{Job: "j"}} }, true},
		"a hook is owed":   {func(b *v1alpha1.Backup) { b.Status.Hooks = []v1alpha1.HookRun{{Before: v1alpha1.HookDone}} }, true},
		"it rests":         {func(b *v1alpha1.Backup) { *b = *failedAt("a/1", 1) }, false},
		"made":             {func(b *v1alpha1.Backup) { *b = *made("a/1", 1) }, false},
		"it is being deleted": {func(b *v1alpha1.Backup) {
			b.Status.Volumes, b.DeletionTimestamp = []v1alpha1.VolumeMove{{Job: "j"}}, &metav1.Time{Time: time.Unix(1, 0)}
		}, false},
	} {
		b := asked("a/1", 1)
		c.edit(b)
		if got := begun(b); got != c.want {
			t.Errorf("%s: begun is %v", name, got)
		}
	}
	b := asked("a/1", 1)
	if idle(b, &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes}) || !idle(b, &outcome.Wait{Reason: v1alpha1.ReasonStoreUnreachable}) || !idle(b, nil) {
		t.Error("a pass that moves volumes is over, or another one is not")
	}
}
