package backup

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestTurn holds, in virtual time, that a backup is read back once in every cycle, also when nobody looked for long and when the clock was wrong;
// and that workspaces are spread over the cycle.
func TestTurn(t *testing.T) {
	t.Parallel()
	const every = 7 * 24 * time.Hour
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	of := func(workspace string) *v1alpha1.Backup {
		b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "lugano"}}
		b.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(workspace), Repository: "primario"}
		return b
	}
	b, now, read := of("sportello"), start, 0
	for now.Before(start.AddDate(0, 0, 70)) {
		due, next := turn(b, every, now)
		if due {
			read++
			b.Status.ReadAt = &metav1.Time{Time: now}
			if due, next = turn(b, every, now); due {
				t.Fatalf("at %v it is due although it was read just now", now)
			}
		}
		if next <= 0 || next > every+time.Second {
			t.Fatalf("at %v it is looked at again in %v", now, next)
		}
		now = now.Add(next)
	}
	if read != 11 { // at once, and in each of ten cycles
		t.Errorf("it was read %d times in ten weeks", read)
	}
	b.Status.ReadAt = &metav1.Time{Time: now.AddDate(1, 0, 0)}
	if due, _ := turn(b, every, now); !due {
		t.Error("a time of a wrong clock holds it back for a year")
	}
	days := map[int]bool{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "l", "m", "n", "o", "p"} {
		one := of(name)
		one.Status.ReadAt = &metav1.Time{Time: start}
		_, next := turn(one, every, start)
		days[int(next/(24*time.Hour))] = true
	}
	if len(days) < 4 {
		t.Errorf("14 workspaces are read on %d days of a week", len(days))
	}
}
