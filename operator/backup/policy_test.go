package backup

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// night is a backup that the policy "p" made of workspace "w", Ready.
func night(name string, sequence int64, at time.Time, edit ...func(*v1alpha1.Backup)) v1alpha1.Backup {
	b := v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Labels: map[string]string{v1alpha1.LabelPolicy: "p"}}}
	b.Spec.Workspace, b.Status.Sequence, b.Status.StartedAt = "w", sequence, &metav1.Time{Time: at}
	condition.Succeed(&b, "")
	for _, e := range edit {
		e(&b)
	}
	return b
}

func pending(b *v1alpha1.Backup) {
	condition.Progress(b, "x", "")
	b.Status.Sequence, b.Status.StartedAt = 0, nil
}
func stalled(b *v1alpha1.Backup) { condition.Stall(b, "x", "") }
func foreign(b *v1alpha1.Backup) { b.Labels = nil }

func nightly(t *testing.T) (*v1alpha1.BackupPolicy, calendar) {
	t.Helper()
	c, err := newCalendar("30 2 * * *", "Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	p := &v1alpha1.BackupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}
	p.Spec.Retention.Last = 100
	return p, c
}

// TestDecideWhatIsDue in virtual time.
func TestDecideWhatIsDue(t *testing.T) {
	t.Parallel()
	due := instant(t, "2027-03-10T02:30:00+01:00")
	wait := late("a", "w")
	yesterday := night("p-w-20270309", 1, due.AddDate(0, 0, -1))
	for name, c := range map[string]struct {
		reason  string
		now     time.Time
		backups []v1alpha1.Backup
		begins  string // the backup that is made
	}{
		"first":          {"at once, whatever the hour", due.Add(-time.Hour), nil, "p-w-20270309"},
		"jitter":         {"its own minutes are not over", due.Add(wait - time.Second), []v1alpha1.Backup{yesterday}, ""},
		"a night":        {"they are", due.Add(wait), []v1alpha1.Backup{yesterday}, "p-w-20270310"},
		"made":           {"one a night", due.Add(5 * time.Hour), []v1alpha1.Backup{yesterday, night("p-w-20270310", 2, due)}, ""},
		"a week down":    {"one makes up for all", due.AddDate(0, 0, 7).Add(time.Hour), []v1alpha1.Backup{yesterday}, "p-w-20270317"},
		"clock back":     {"the night before was made", due.Add(-time.Hour), []v1alpha1.Backup{yesterday, night("p-w-20270310", 2, due)}, ""},
		"under way":      {"one at a time", due.Add(time.Hour), []v1alpha1.Backup{night("p-w-20270309", 0, due, pending)}, ""},
		"failed":         {"what has ended holds none back", due.Add(time.Hour), []v1alpha1.Backup{night("p-w-20270309", 1, due, stalled)}, "p-w-20270310"},
		"somebody's own": {"of that name: the night is not skipped", due.Add(time.Hour), []v1alpha1.Backup{yesterday, night("p-w-20270310", 2, due, foreign)}, "p-w-20270310-x"},
		"clock forward":  {"02:30 does not exist: at three", instant(t, "2027-03-28T03:00:00+02:00").Add(wait), []v1alpha1.Backup{yesterday}, "p-w-20270328"},
		"back, once":     {"02:30 comes twice: the second makes none", instant(t, "2027-10-31T02:45:00+01:00"), []v1alpha1.Backup{night("p-w-20271031", 1, due)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, calendar := nightly(t)
			s := standing{calendar: calendar, now: c.now, workspaces: []string{"w"}, backups: c.backups, taken: map[string]bool{}}
			for _, b := range c.backups {
				s.taken[b.Name] = b.Labels[v1alpha1.LabelPolicy] != "p"
			}
			out := decide(p, s)
			got := ""
			for _, o := range out.begin {
				got += o.name
			}
			if got != c.begins {
				t.Errorf("%s: %q is made, want %q", c.reason, got, c.begins)
			}
			if !out.next.After(c.now) || out.next.After(c.now.Add(26*time.Hour)) {
				t.Errorf("it looks again at %s, and it is %s", out.next, c.now)
			}
			if name == "jitter" && !out.next.Equal(due.Add(wait)) {
				t.Errorf("it looks again at %s, and is due at %s", out.next, due.Add(wait))
			}
			p.Status.Workspaces = out.rows
			if again := decide(p, s); len(again.begin) > 0 {
				t.Errorf("asked again before the cache has it, it makes %v", again.begin)
			}
		})
	}
}

// TestDecideDrills: when one begins, and what it came to.
func TestDecideDrills(t *testing.T) {
	t.Parallel()
	now := instant(t, "2027-03-10T12:00:00+01:00")
	drill := func(ago time.Duration, edit func(*v1alpha1.Restore)) []v1alpha1.Restore {
		r := v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Name: drillName("p", "w", now.Add(-ago)), Labels: map[string]string{v1alpha1.LabelWorkspace: "w"}}}
		edit(&r)
		return []v1alpha1.Restore{r}
	}
	last := func(ago time.Duration) *v1alpha1.DrillResult {
		return &v1alpha1.DrillResult{At: metav1.Time{Time: now.Add(-ago)}, Passed: new(true)}
	}
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		reason   string
		last     *v1alpha1.DrillResult
		restores []v1alpha1.Restore
		does     string
		passed   bool
	}{
		"first":     {"there is a verified backup", nil, nil, "begins", false},
		"not due":   {"the interval is not over", last(29 * day), nil, "nothing", true},
		"due":       {"it is", last(30 * day), nil, "begins", true},
		"under way": {"none beside it", nil, drill(time.Hour, func(*v1alpha1.Restore) {}), "nothing", false},
		"passed":    {"it is written down before it goes", nil, drill(time.Hour, func(r *v1alpha1.Restore) { condition.Succeed(r, "") }), "attests", true},
		"failed":    {"it is written down, and not tried again at once", nil, drill(time.Hour, func(r *v1alpha1.Restore) { condition.Stall(r, "x", "") }), "attests", false},
		"attested": {"there is a record of it, which says that it failed", &v1alpha1.DrillResult{
			Restore: drillName("p", "w", now.Add(-time.Hour)), At: metav1.Time{Time: now}, Passed: new(false), Evidence: &v1alpha1.DrillEvidence{Name: "x"},
		}, drill(time.Hour, func(r *v1alpha1.Restore) { condition.Succeed(r, "") }), "clears", false},
		"timed out": {"it has failed", nil, drill(drillPatience, func(*v1alpha1.Restore) {}), "attests", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, calendar := nightly(t)
			p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30}
			p.Status.Workspaces = []v1alpha1.PolicyWorkspace{{Name: "w", Drill: c.last}}
			out := decide(p, standing{calendar: calendar, now: now, workspaces: []string{"w"}, backups: []v1alpha1.Backup{night("p-w-20270310", 1, now)}, restores: c.restores})
			does := "nothing"
			for what, n := range map[string]int{"begins": len(out.drill), "attests": len(out.over), "clears": len(out.clear)} {
				if n > 0 {
					does = what
				}
			}
			d := out.rows[0].Drill
			if does != c.does || len(out.drill)+len(out.over)+len(out.clear) > 1 || (d != nil && *d.Passed) != c.passed {
				t.Errorf("%s: begins %v, attests %v, clears %v, result %+v", c.reason, out.drill, out.over, out.clear, d)
			}
			if attests := does == "attests"; out.next.Equal(now) != attests {
				t.Errorf("%s: it looks again at %s", c.reason, out.next)
			}
		})
	}
}

// TestPromises are kept or broken.
func TestPromises(t *testing.T) {
	t.Parallel()
	now := instant(t, "2027-03-10T12:00:00+01:00")
	ago := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }
	result := func(passed bool, seconds int32, d time.Duration) *v1alpha1.DrillResult {
		return &v1alpha1.DrillResult{At: *ago(d), Passed: &passed, Seconds: seconds}
	}
	for name, c := range map[string]struct {
		created     *metav1.Time
		row         v1alpha1.PolicyWorkspace
		point, time string
	}{
		"kept":         {ago(99 * time.Hour), v1alpha1.PolicyWorkspace{VerifiedAt: ago(26 * time.Hour), Drill: result(true, 3600, time.Hour)}, v1alpha1.ReasonKept, v1alpha1.ReasonKept},
		"new":          {ago(time.Hour), v1alpha1.PolicyWorkspace{}, v1alpha1.ReasonNoBackupYet, v1alpha1.ReasonNoBackupYet},
		"never":        {ago(27 * time.Hour), v1alpha1.PolicyWorkspace{}, v1alpha1.ReasonRecoveryPointMissed, v1alpha1.ReasonNoBackupYet},
		"old and slow": {ago(99 * time.Hour), v1alpha1.PolicyWorkspace{VerifiedAt: ago(26*time.Hour + time.Second), Drill: result(true, 3601, 0)}, v1alpha1.ReasonRecoveryPointMissed, v1alpha1.ReasonRecoveryTimeMissed},
		"failed":       {ago(0), v1alpha1.PolicyWorkspace{VerifiedAt: ago(0), Drill: result(false, 1, 0)}, v1alpha1.ReasonKept, v1alpha1.ReasonDrillFailed},
		"overdue":      {ago(0), v1alpha1.PolicyWorkspace{VerifiedAt: ago(0), Drill: result(true, 1, 32*24*time.Hour)}, v1alpha1.ReasonKept, v1alpha1.ReasonDrillOverdue},
	} {
		p, _ := nightly(t)
		p.CreationTimestamp = *c.created
		p.Spec.RecoveryPointHours, p.Spec.RecoveryTimeMinutes, p.Spec.Drill = new(int32(26)), new(int32(60)), &v1alpha1.Drill{EveryDays: 30}
		c.row.Name = "w"
		p.Status.Workspaces = []v1alpha1.PolicyWorkspace{c.row}
		if _, reason, _ := pointKept(p, now); reason != c.point {
			t.Errorf("%s: the point is %s, want %s", name, reason, c.point)
		}
		if _, reason, _ := timeKept(p, now); reason != c.time {
			t.Errorf("%s: the time is %s, want %s", name, reason, c.time)
		}
	}
}

// TestOutlived: what keepDays take away of a workspace's own backups.
func TestOutlived(t *testing.T) {
	t.Parallel()
	at := instant(t, "2027-03-10T12:00:00+01:00")
	kept := func(b *v1alpha1.Backup) { foreign(b); b.Spec.KeepDays = new(int32(7)) }
	mine, newer := night("mine", 1, at, kept), night("newer", 2, at)
	elsewhere := night("elsewhere", 2, at, func(b *v1alpha1.Backup) { b.Spec.Workspace = "other" })
	for name, c := range map[string]struct {
		now  time.Time
		all  []v1alpha1.Backup
		over bool
		next time.Duration
	}{
		"not yet":            {at.AddDate(0, 0, 7), []v1alpha1.Backup{mine, newer}, false, time.Second},
		"over":               {at.AddDate(0, 0, 8), []v1alpha1.Backup{mine, newer}, true, 0},
		"the last":           {at.AddDate(0, 0, 8), []v1alpha1.Backup{mine}, false, lastStays},
		"another workspace":  {at.AddDate(0, 0, 8), []v1alpha1.Backup{mine, elsewhere}, false, lastStays},
		"newer is under way": {at.AddDate(0, 0, 8), []v1alpha1.Backup{mine, night("newer", 0, at, pending)}, false, lastStays},
		"newer is damaged":   {at.AddDate(0, 0, 8), []v1alpha1.Backup{mine, night("newer", 2, at, stalled)}, false, lastStays},
	} {
		if over, next := outlived(&mine, c.all, c.now); over != c.over || next != c.next {
			t.Errorf("%s: over %v, next %s", name, over, next)
		}
	}
}

// TestCopyIsPolite holds that a copy waits for the backup of its workspace elsewhere for a while and not for ever, and has names of its own.
func TestCopyIsPolite(t *testing.T) {
	t.Parallel()
	p, c := nightly(t)
	now := instant(t, "2027-03-10T12:00:00+01:00")
	s := standing{calendar: c, now: now, workspaces: []string{"w"}, suffix: suffix("secondo"), busy: map[string]time.Time{"w": now.Add(time.Minute)}}
	if step := decide(p, s); len(step.begin) != 0 || !step.next.Equal(now.Add(time.Minute)) {
		t.Errorf("while the other is under way: %+v", step)
	}
	s.now = now.Add(time.Minute)
	step := decide(p, s)
	if len(step.begin) != 1 || step.begin[0].name != "p-w-20270310"+suffix("secondo") || suffix("secondo") == suffix("terzo") {
		t.Errorf("after that: %+v", step)
	}
}
