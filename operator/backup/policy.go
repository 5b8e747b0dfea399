package backup

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// standing is what a policy's decisions rest on.
type standing struct {
	calendar   calendar
	now        time.Time
	workspaces []string // that it backs up, sorted
	classes    map[string]v1alpha1.DataClass
	// backups are all of the home namespace in the policy's repository, whoever made them; restores are its drills.
	// elsewhere are those in other repositories.
	backups, elsewhere []v1alpha1.Backup

	restores []v1alpha1.Restore
	// suffix ends the names of backups; empty but for copies.
	suffix string
	// busy are the workspaces of which another repository gets a backup, and until when that is waited for: both would run the same hooks at once.
	busy map[string]time.Time
	// taken are names of backups of the home namespace that the policy did not make, in whatever repository.
	taken map[string]bool
}

// plan is what a policy does next.
type plan struct {
	begin  []order  // backups to make
	drill  []order  // drills to begin
	remove []string // backups that are kept no longer
	over   []over   // drills that have ended, of which there is to be evidence
	clear  []string // drills to clear away
	rows   []v1alpha1.PolicyWorkspace
	// next is when something falls due though nothing changes.
	next time.Time
}

// order is one object to make.
type order struct {
	name, workspace string
	backup          string // of a drill: what is restored
	at              time.Time
}

// decide finds what a policy does next, and how it stands.
func decide(p *v1alpha1.BackupPolicy, s standing) plan {
	out := plan{next: s.calendar.next(s.now)}
	for _, name := range s.workspaces {
		all := slices.DeleteFunc(slices.Clone(s.backups), func(b v1alpha1.Backup) bool { return string(b.Spec.Workspace) != name })
		row := v1alpha1.PolicyWorkspace{Name: v1alpha1.WorkspaceName(name)}
		if i := slices.IndexFunc(p.Status.Workspaces, func(w v1alpha1.PolicyWorkspace) bool { return w.Name == row.Name }); i >= 0 {
			row = *p.Status.Workspaces[i].DeepCopy()
		}
		row.DataClass = s.classes[name]
		rules := rulesFor(p, row.DataClass)
		out.run(p, s, &row, all)
		verify(&row, all)
		out.rehearse(p, rules.DrillEveryDays, s, &row)
		out.remove = append(out.remove, expired(copies(p.Name, all), rules.Retention, s.calendar.zone, s.now)...)
		out.rows = append(out.rows, row)
	}
	out.next = earliest(out.next, broken(p, out.rows)...)
	return out
}

// run finds whether a workspace is due. The first backup is made at once: before it, nothing is safe. Whatever was missed is made up for by one.
func (o *plan) run(p *v1alpha1.BackupPolicy, s standing, row *v1alpha1.PolicyWorkspace, all []v1alpha1.Backup) {
	last := s.calendar.last(s.now)
	due, name := last.Add(late(p.Namespace, string(row.Name))), backupName(p.Name, string(row.Name), s.calendar.day(last))+s.suffix
	for s.taken[name] { // somebody's own: the night is not skipped for it
		name += "-x"
	}
	var own []v1alpha1.Backup
	for _, b := range all {
		if b.Labels[v1alpha1.LabelPolicy] == p.Name {
			own = append(own, b)
		}
	}
	switch {
	case last.IsZero(), row.ScheduledFor != nil && row.ScheduledFor.Time.Equal(last), slices.ContainsFunc(own, func(b v1alpha1.Backup) bool { return b.Name == name }):
	case len(own) > 0 && due.After(s.now):
		o.next = earliest(o.next, due)
	case slices.ContainsFunc(own, func(b v1alpha1.Backup) bool { return underWay(&b) }): // one at a time; its end is looked at
	case s.busy[string(row.Name)].After(s.now):
		o.next = earliest(o.next, s.busy[string(row.Name)])
	default:
		o.begin = append(o.begin, order{name: name, workspace: string(row.Name), at: last})
		row.Backup, row.ScheduledFor = name, &metav1.Time{Time: last}
	}
}

// underWay tells whether a backup may still become Ready by itself.
func underWay(b *v1alpha1.Backup) bool {
	return b.DeletionTimestamp.IsZero() && !condition.True(b, v1alpha1.ConditionReady) && !condition.True(b, v1alpha1.ConditionStalled)
}

// verify writes down the last backup that is Ready, whoever made it.
func verify(row *v1alpha1.PolicyWorkspace, all []v1alpha1.Backup) {
	row.Verified, row.VerifiedAt = "", nil
	best := int64(0)
	for _, b := range all {
		if condition.True(&b, v1alpha1.ConditionReady) && b.DeletionTimestamp.IsZero() && b.Status.Sequence > best {
			best, row.Verified, row.VerifiedAt = b.Status.Sequence, b.Name, b.Status.StartedAt
		}
	}
}

// rehearse follows the drill of a workspace, and begins one when it is due: a first one when there is a verified backup, then at the interval.
func (o *plan) rehearse(p *v1alpha1.BackupPolicy, everyDays *int32, s standing, row *v1alpha1.PolicyWorkspace) {
	for i := range s.restores {
		one := &s.restores[i]
		if one.Labels[v1alpha1.LabelWorkspace] != string(row.Name) || !one.DeletionTimestamp.IsZero() {
			continue
		}
		if row.Drill != nil && row.Drill.Restore == one.Name && row.Drill.Evidence != nil {
			o.clear = append(o.clear, one.Name)
			continue
		}
		result := drilled(one, s.now)
		if result == nil {
			o.next = earliest(o.next, began(one).Add(drillPatience))
			return // under way
		}
		o.over = append(o.over, over{one, result})
		if everyDays != nil {
			row.Drill, o.next = result, s.now
			return // it goes when the status tells of it: a pass that ends before that would drill again
		}
		o.clear = append(o.clear, one.Name)
	}
	if everyDays == nil {
		row.Drill = nil
		return
	}
	if row.Verified == "" {
		return
	}
	if row.Drill != nil {
		due := row.Drill.At.AddDate(0, 0, int(*everyDays))
		if due.After(s.now) {
			o.next = earliest(o.next, due)
			return
		}
	}
	o.drill = append(o.drill, order{name: drillName(p.Name, string(row.Name), s.now), workspace: string(row.Name), backup: row.Verified})
}

// drillPatience is how long a drill may take before it has failed.
const drillPatience = 6 * time.Hour

// drillMessage and drillCheckMessage bound messages in a policy's status, in bytes: it has many workspaces, and their drills many checks.
const (
	drillMessage      = 1024
	drillCheckMessage = 128
)

// over is a drill that has ended, and what it came to.
type over struct {
	restore *v1alpha1.Restore
	result  *v1alpha1.DrillResult // in the policy's status
}

// drilled is the result of a drill that has ended, or that will not end; nil: it is under way.
func drilled(r *v1alpha1.Restore, now time.Time) *v1alpha1.DrillResult {
	passed := condition.True(r, v1alpha1.ConditionReady)
	stalled := condition.True(r, v1alpha1.ConditionStalled)
	if !passed && !stalled && now.Before(began(r).Add(drillPatience)) {
		return nil
	}
	out := &v1alpha1.DrillResult{Restore: r.Name, Backup: r.Spec.Backup, At: metav1.Time{Time: now}, Passed: &passed, BytesRead: r.Status.BytesRead}
	for _, v := range r.Status.Volumes {
		out.BytesRead += v.Received
	}
	if !passed {
		out.Message = condition.Cut(readyMessage(r), drillMessage)
	}
	if r.Status.FinishedAt != nil && r.Status.StartedAt != nil {
		out.At = *r.Status.FinishedAt
		out.Seconds = int32(max(0, r.Status.FinishedAt.Sub(r.Status.StartedAt.Time)/time.Second))
	}
	out.Checks = results(checksOf(r))
	return out
}

func readyMessage(o condition.Object) string {
	for _, c := range *o.GetConditions() {
		if c.Type == v1alpha1.ConditionReady {
			return c.Message
		}
	}
	return "the operator did not get to it"
}

// copies are what retention looks at.
func copies(policy string, all []v1alpha1.Backup) (out []copyOf) {
	for _, b := range all {
		if !b.DeletionTimestamp.IsZero() {
			continue
		}
		c := copyOf{Name: b.Name, Sequence: b.Status.Sequence, Verified: condition.True(&b, v1alpha1.ConditionReady), Owned: b.Labels[v1alpha1.LabelPolicy] == policy}
		if b.Status.StartedAt != nil {
			c.At = b.Status.StartedAt.Time
		}
		if days := b.Spec.KeepDays; days != nil {
			c.Until = c.At.AddDate(0, 0, int(*days))
		}
		out = append(out, c)
	}
	return out
}

// broken are the instants at which a promise that is kept now would break.
func broken(p *v1alpha1.BackupPolicy, rows []v1alpha1.PolicyWorkspace) (out []time.Time) {
	for _, row := range rows {
		rules := rulesFor(p, row.DataClass)
		if hours := rules.RecoveryPointHours; hours != nil {
			out = append(out, cmp.Or(row.VerifiedAt, &p.CreationTimestamp).Add(time.Duration(*hours)*time.Hour+time.Second))
		}
		if row.Drill != nil && rules.DrillEveryDays != nil {
			out = append(out, overdue(*rules.DrillEveryDays, row.Drill).Add(time.Second))
		}
	}
	return out
}

// overdue is when a drill is late: a day after it was due.
func overdue(everyDays int32, last *v1alpha1.DrillResult) time.Time {
	return last.At.AddDate(0, 0, int(everyDays)+1)
}

// earliest is the first of some instants; zero is none.
func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if first.IsZero() || (!t.IsZero() && t.Before(first)) {
			first = t
		}
	}
	return first
}

// backupName is the name of the backup of a workspace for a local day: to make it twice is harmless.
func backupName(policy, workspace, day string) string { return policy + "-" + workspace + "-" + day }

// drillTime ends a drill's name: when it began, by our own clock.
const drillTime = "20060102-150405"

func drillName(policy, workspace string, now time.Time) string {
	return "drill-" + policy + "-" + workspace + "-" + now.UTC().Format(drillTime)
}

// began is when a drill did.
func began(one *v1alpha1.Restore) time.Time {
	at, err := time.Parse(drillTime, one.Name[max(0, len(one.Name)-len(drillTime)):])
	if err != nil {
		return one.CreationTimestamp.Time
	}
	return at
}

// drillWorkspace is the name of a drill's throw-away workspace.
func drillWorkspace(drill string) v1alpha1.WorkspaceName {
	sum := sha256.Sum256([]byte(drill))
	return v1alpha1.WorkspaceName("drill-" + hex.EncodeToString(sum[:8]))
}

// pointKept tells whether every workspace has a verified backup that is young enough.
func pointKept(p *v1alpha1.BackupPolicy, now time.Time) (kept bool, reason, message string) {
	promised, waiting := p.Spec.RecoveryPointHours != nil, ""
	for _, row := range p.Status.Workspaces {
		hours := rulesFor(p, row.DataClass).RecoveryPointHours
		if hours == nil {
			continue
		}
		promised = true
		young := time.Duration(*hours) * time.Hour
		switch {
		case row.VerifiedAt != nil && now.Sub(row.VerifiedAt.Time) <= young:
		case row.VerifiedAt == nil && now.Sub(p.CreationTimestamp.Time) <= young:
			waiting = string(row.Name)
		default:
			return false, v1alpha1.ReasonRecoveryPointMissed, fmt.Sprintf(
				"workspace %s has no verified backup of the last %d hours: kubectl get backups says what became of the last ones", row.Name, *hours)
		}
	}
	if !promised {
		return true, v1alpha1.ReasonNotPromised, ""
	}
	for _, c := range p.Status.Copies {
		if kept, reason, message := pointKept(inCopy(p, c.Repository), now); !kept || reason == v1alpha1.ReasonNoBackupYet {
			return kept, reason, fmt.Sprintf("in repository %s: %s", c.Repository, message)
		}
	}
	if waiting != "" {
		return true, v1alpha1.ReasonNoBackupYet, "workspace " + waiting + " waits for its first backup"
	}
	return true, v1alpha1.ReasonKept, ""
}

// timeKept tells whether the last drill of every workspace is recent, passed, and took no longer than promised.
func timeKept(p *v1alpha1.BackupPolicy, now time.Time) (kept bool, reason, message string) {
	promised, waiting := p.Spec.Drill != nil, ""
	for _, row := range p.Status.Workspaces {
		every, d := rulesFor(p, row.DataClass).DrillEveryDays, row.Drill
		if every == nil {
			continue
		}
		promised = true
		switch {
		case d == nil:
			waiting = string(row.Name)
		case !*d.Passed:
			return false, v1alpha1.ReasonDrillFailed, fmt.Sprintf("the drill of workspace %s failed: %s", row.Name, d.Message)
		case p.Spec.RecoveryTimeMinutes != nil && d.Seconds > *p.Spec.RecoveryTimeMinutes*60:
			return false, v1alpha1.ReasonRecoveryTimeMissed, fmt.Sprintf(
				"the drill of workspace %s took longer than %d minutes: promise more, or back up less in one workspace", row.Name, *p.Spec.RecoveryTimeMinutes)
		case now.After(overdue(*every, d)):
			return false, v1alpha1.ReasonDrillOverdue, fmt.Sprintf("workspace %s was last drilled longer ago than every %d days: is there a verified backup?", row.Name, *every)
		}
	}
	switch {
	case !promised:
		return true, v1alpha1.ReasonNotPromised, ""
	case waiting != "":
		return true, v1alpha1.ReasonNoBackupYet, "workspace " + waiting + " waits for its first drill"
	}
	return true, v1alpha1.ReasonKept, ""
}
