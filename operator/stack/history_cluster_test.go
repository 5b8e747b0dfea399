package stack_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// TestHistory looks for drift more often than runs are kept: the last ten stay, the one that applied with them, the Jobs of the last two, and
// of the others the vault keeps nothing.
func TestHistory(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "history", automatic, func(s *v1alpha1.Stack) { s.Spec.Drift = &v1alpha1.Drift{EveryHours: 1} })
	p.plays(p.begun(v1alpha1.OperationConverge), run.Report{Plan: p.changes(), Applied: true})
	p.says(ready, v1alpha1.ReasonSucceeded)
	var first *v1alpha1.StackRun
	for range 12 {
		p.settled()
		p.later(67 * time.Minute)
		look := p.begun(v1alpha1.OperationLook)
		if first == nil {
			first = look
		}
		p.plays(look, run.Report{Plan: nothing})
		p.says(ready, v1alpha1.ReasonSucceeded)
	}
	p.until("the history is trimmed", func() error {
		var jobs batchv1.JobList
		if n := len(p.List(&jobs, p.workspace.TargetNamespace())); n != 2 {
			return fmt.Errorf("%d Jobs are kept", n)
		}
		if want := "Converge" + strings.Repeat(" Look", 10); p.story() != want {
			return fmt.Errorf("the runs are %s, want %s", p.story(), want)
		}
		return nil
	})
	if _, err := p.vault.Order(t.Context(), p.of(), first.UID); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("the vault keeps the order of a run that is gone: %v", err)
	}
	p.settled()
}
