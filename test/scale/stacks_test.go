package main

import (
	"bytes"
	"testing"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestStacks runs a small benchmark of stacks and holds the counts. Times are for people to read: no test depends on them.
func TestStacks(t *testing.T) {
	var table, progress bytes.Buffer
	o := options{stacks: 2, batch: 2, engine: string(v1alpha1.OpenTofu), writers: 2, workspaces: 2, order: "ab", tenants: 1, progress: &progress}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	r, err := measureStacks(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if err := r.print(&table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
	if len(r.Rounds) != 1 {
		t.Fatalf("%d turns of one", len(r.Rounds))
	}
	shell, broletto := r.Rounds[0].Shell, r.Rounds[0].Broletto
	if made := shell.By["engine create configmaps"]; made != o.stacks {
		t.Errorf("the shell made %d ConfigMaps of %d", made, o.stacks)
	}
	if made := broletto.By["engine create configmaps"]; made != o.stacks {
		t.Errorf("Broletto's stacks made %d ConfigMaps of %d", made, o.stacks)
	}
	if runs := broletto.By["operator create stackruns"]; runs != o.stacks {
		t.Errorf("%d runs for %d stacks that are applied without asking", runs, o.stacks)
	}
	if most := 25 * o.stacks; broletto.Writes["operator"] > most {
		t.Errorf("the operator wrote %d times, want at most %d\n%s", broletto.Writes["operator"], most, table.String())
	}
	if most := 25 * o.stacks; broletto.By["operator get secrets"] > most { // 14 on a machine that has time
		t.Errorf("the operator read %d Secrets, want at most %d\n%s", broletto.By["operator get secrets"], most, table.String())
	}
	if shell.CPU[ended] <= 0 || broletto.CPU[ended] <= 0 || r.Vault.Bytes == 0 {
		t.Errorf("engines took no processor time, or the vault keeps nothing: nothing was measured\n%s", table.String())
	}
}
