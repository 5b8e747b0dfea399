package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// Vault tests a vault over a store.
func Vault(t *testing.T, store vault.Store) {
	v := vault.New(store, store)
	tests := map[string]func(*testing.T, *vault.Vault, vault.Stack){
		"orders, sources, plans and reports": things,
		"a plan is used once":                once,
		"a run without plan applies once":    onceWithoutPlan,
		"states follow each other":           states,
		"one of many saves a state":          stateRace,
		"the lock":                           locks,
		"one of many takes the lock":         lockRace,
		"keys":                               keys,
		"what is forgotten":                  forgotten,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test(t, v, vault.Stack{Tenant: "lugano-" + strings.ToLower(string(uuid.NewUUID()[:8])), UID: uuid.NewUUID()})
		})
	}
}

func things(t *testing.T, v *vault.Vault, s vault.Stack) {
	ctx := t.Context()
	if _, err := v.Order(ctx, s, "1"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("an order that was never given: %v", err)
	}
	if r, err := v.Report(ctx, s, "1"); r != nil || err != nil {
		t.Errorf("a report that was never made: %v, %v", r, err)
	}
	want := run.Order{Run: "sito-1", Operation: v1alpha1.OperationPlan, Inputs: map[string]json.RawMessage{"name": json.RawMessage(`"x"`)}, PlanRun: "0"}
	for range 2 {
		must(t, v.PutOrder(ctx, s, "1", run.Order{Run: "old"}))
		must(t, v.PutOrder(ctx, s, "1", want))
	}
	if got, err := v.Order(ctx, s, "1"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("the order: %v, %s", err, cmp.Diff(want, got))
	}
	must(t, v.PutSource(ctx, s, "1", []byte("code")))
	must(t, v.PutPlan(ctx, s, "1", []byte("plan")))
	code, err := v.Source(ctx, s, "1")
	same(t, "code", code, err)
	plan, err := v.Plan(ctx, s, "1")
	same(t, "plan", plan, err)
	must(t, v.PutReport(ctx, s, "1", run.Report{Serial: 1}))
	must(t, v.PutReport(ctx, s, "1", run.Report{Serial: 1}))
	if err := v.PutReport(ctx, s, "1", run.Report{Serial: 2}); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("a second report: %v", err)
	}
	if r, err := v.Report(ctx, s, "1"); err != nil || r.Serial != 1 {
		t.Errorf("the report: %v, %v", r, err)
	}
}

func once(t *testing.T, v *vault.Vault, s vault.Stack) {
	ctx := t.Context()
	if _, err := v.AppliedSource(ctx, s); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("what was applied before the first time: %v", err)
	}
	must(t, v.PutOrder(ctx, s, "2", run.Order{Inputs: map[string]json.RawMessage{"a": json.RawMessage(`1`)}, Secret: []string{"a"}}))
	if err := v.Begin(ctx, s, "2", "1"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("applying a plan that there is not: %v", err)
	}
	must(t, v.PutSource(ctx, s, "1", []byte("code")))
	var began, refused atomic.Int32
	together(16, func(int) {
		switch err := v.Begin(context.WithoutCancel(ctx), s, "2", "1"); {
		case err == nil:
			began.Add(1)
		case errors.Is(err, vault.ErrUsed):
			refused.Add(1)
		default:
			t.Error(err)
		}
	})
	if began.Load() != 1 || refused.Load() != 15 {
		t.Errorf("of 16 at once %d began and %d were refused", began.Load(), refused.Load())
	}
	code, err := v.AppliedSource(ctx, s)
	same(t, "code", code, err)
	inputs, secret, err := v.AppliedInputs(ctx, s)
	if err != nil || string(inputs["a"]) != "1" || !cmp.Equal(secret, []string{"a"}) {
		t.Errorf("inputs %s, secret %v, %v", inputs, secret, err)
	}
}

func onceWithoutPlan(t *testing.T, v *vault.Vault, s vault.Stack) {
	must(t, v.Begin(t.Context(), s, "2", ""))
	if err := v.Begin(t.Context(), s, "2", ""); !errors.Is(err, vault.ErrUsed) {
		t.Errorf("a second time: %v", err)
	}
	must(t, v.Begin(t.Context(), s, "3", ""))
	if _, err := v.AppliedSource(t.Context(), s); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("what was applied: %v", err)
	}
}

func states(t *testing.T, v *vault.Vault, s vault.Stack) {
	ctx := t.Context()
	if _, _, _, err := v.State(ctx, s); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("the state before the first one: %v", err)
	}
	for serial := range int64(8) {
		must(t, v.PutState(ctx, s, serial+1, "line", []byte{byte(serial + 1)}))
		must(t, v.PutState(ctx, s, serial+1, "line", []byte{byte(serial + 1)}))
	}
	rows := map[string]struct {
		serial  int64
		lineage string
		data    byte
	}{
		"the same serial, other bytes": {8, "line", 9},
		"a serial left out":            {10, "line", 9},
		"an old serial":                {7, "line", 7},
		"another lineage":              {9, "other", 9},
		"no lineage":                   {9, "", 9},
		"the same in another lineage":  {8, "other", 8},
	}
	for what, row := range rows {
		if err := v.PutState(ctx, s, row.serial, row.lineage, []byte{row.data}); !errors.Is(err, vault.ErrStale) {
			t.Errorf("%s: %v", what, err)
		}
	}
	data, serial, lineage, err := v.State(ctx, s)
	if err != nil || !bytes.Equal(data, []byte{8}) || serial != 8 || lineage != "line" {
		t.Errorf("the state is %v, serial %d, lineage %q: %v", data, serial, lineage, err)
	}
	for serial := range int64(8) { // large and small ones, in turn
		want := bytes.Repeat([]byte{byte(serial)}, 1+int(serial%2)*(1<<20))
		must(t, v.PutState(ctx, s, serial+9, "line", want))
		must(t, v.PutState(ctx, s, serial+9, "line", want))
		if data, _, _, err = v.State(ctx, s); err != nil || !bytes.Equal(data, want) {
			t.Errorf("state %d of %d bytes has %d: %v", serial+9, len(want), len(data), err)
		}
	}
}

func stateRace(t *testing.T, v *vault.Vault, s vault.Stack) {
	var won atomic.Int32
	together(8, func(i int) {
		err := v.PutState(context.WithoutCancel(t.Context()), s, 1, "", []byte{byte(i)})
		switch {
		case err == nil:
			won.Store(int32(i))
		case !errors.Is(err, vault.ErrStale):
			t.Error(err)
		}
	})
	data, serial, _, err := v.State(t.Context(), s)
	if err != nil || serial != 1 || !bytes.Equal(data, []byte{byte(won.Load())}) {
		t.Errorf("%d won, the state is %v, serial %d: %v", won.Load(), data, serial, err)
	}
}

func locks(t *testing.T, v *vault.Vault, s vault.Stack) {
	ctx, begin := t.Context(), time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	mine := vault.Lock{Run: "sito-1", RunUID: "1", PodUID: "p", Pod: "sito-1-x", Since: begin, Beat: begin}
	if l, err := v.Lock(ctx, s); l != nil || err != nil {
		t.Errorf("a lock that nobody took: %v, %v", l, err)
	}
	if err := v.Beat(ctx, s, "1", "p", begin); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("a beat without a lock: %v", err)
	}
	must(t, v.Release(ctx, s, "1"))
	for _, again := range []vault.Lock{mine, {RunUID: "1", PodUID: "p", Since: begin.Add(time.Hour)}} {
		if taken, err := v.TakeLock(ctx, s, again); err != nil || !sameLock(taken, mine) {
			t.Errorf("the lock that was taken: %v, %v", taken, err)
		}
	}
	for what, other := range map[string]vault.Lock{"run": {RunUID: "2", PodUID: "p"}, "pod": {RunUID: "1", PodUID: "q"}} {
		if _, err := v.TakeLock(ctx, s, other); !heldBy(err, mine) {
			t.Errorf("another %s took the lock: %v", what, err)
		}
		if err := v.Beat(ctx, s, other.RunUID, other.PodUID, begin); !heldBy(err, mine) {
			t.Errorf("another %s beat: %v", what, err)
		}
	}
	must(t, v.Beat(ctx, s, "1", "p", begin.Add(29*time.Second)))
	if l, err := v.Lock(ctx, s); err != nil || !sameLock(*l, mine) {
		t.Errorf("a beat too early was written: %v, %v", l, err)
	}
	mine.Beat = begin.Add(30 * time.Second)
	must(t, v.Beat(ctx, s, "1", "p", mine.Beat))
	must(t, v.Release(ctx, s, "2"))
	if l, err := v.Lock(ctx, s); err != nil || !sameLock(*l, mine) {
		t.Errorf("the lock after a beat and another's release: %v, %v", l, err)
	}
	seen, err := v.Lock(ctx, s)
	must(t, err)
	must(t, v.ReleaseSeen(ctx, s, "1", seen))
	if l, err := v.Lock(ctx, s); l != nil || err != nil {
		t.Errorf("the lock after its release: %v, %v", l, err)
	}
	next := vault.Lock{RunUID: "2", PodUID: "q"}
	if _, err := v.TakeLock(ctx, s, next); err != nil {
		t.Fatal(err)
	}
	// Who saw the lock before it went to another does not take it from them.
	must(t, v.ReleaseSeen(ctx, s, "1", seen))
	if l, err := v.Lock(ctx, s); err != nil || !sameLock(*l, next) {
		t.Errorf("the lock after a late release: %v, %v", l, err)
	}
}

// sameLock compares what of two locks is kept.
func sameLock(a, b vault.Lock) bool { return cmp.Equal(a, b, cmpopts.IgnoreUnexported(vault.Lock{})) }

func lockRace(t *testing.T, v *vault.Vault, s vault.Stack) {
	var won atomic.Int32
	together(16, func(i int) {
		_, err := v.TakeLock(context.WithoutCancel(t.Context()), s, vault.Lock{RunUID: "1", PodUID: types.UID(rune('a' + i))})
		if err == nil {
			won.Add(1)
		} else if _, held := errors.AsType[*vault.Held](err); !held {
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of 16 took the lock at once", won.Load())
	}
}

func keys(t *testing.T, v *vault.Vault, s vault.Stack) {
	first, err := v.Key(t.Context(), s)
	if err != nil || len(first) != 32 {
		t.Fatalf("a key of %d bytes: %v", len(first), err)
	}
	again, err := v.Key(t.Context(), s)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the key changes: %v", err)
	}
	for what, other := range map[string]vault.Stack{"stack": {Tenant: s.Tenant, UID: "other"}, "tenant": {Tenant: s.Tenant + "-b", UID: s.UID}} {
		if key, err := v.Key(t.Context(), other); err != nil || bytes.Equal(first, key) {
			t.Errorf("another %s has the same key: %v", what, err)
		}
	}
	must(t, v.PutPlan(t.Context(), s, "1", []byte("plan")))
	stranger := vault.Stack{Tenant: s.Tenant + "-b", UID: s.UID}
	if _, err := v.Plan(t.Context(), stranger, "1"); err == nil {
		t.Error("another tenant's key opens it")
	}
	must(t, v.ForgetTenant(t.Context(), s.Tenant))
	if _, err := v.Plan(t.Context(), s, "1"); err == nil {
		t.Error("it opens without the key it was sealed with")
	}
}

func forgotten(t *testing.T, v *vault.Vault, s vault.Stack) {
	ctx := t.Context()
	for _, r := range []types.UID{"1", "2"} {
		must(t, v.PutOrder(ctx, s, r, run.Order{}))
		must(t, v.PutSource(ctx, s, r, []byte("code")))
		must(t, v.PutPlan(ctx, s, r, make([]byte, 3<<20)))
		must(t, v.Begin(ctx, s, r, r))
		must(t, v.PutReport(ctx, s, r, run.Report{}))
	}
	must(t, v.PutState(ctx, s, 1, "", []byte("state")))
	must(t, v.ForgetRun(ctx, s, "1"))
	if _, err := v.Source(ctx, s, "1"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("the source of a forgotten run: %v", err)
	}
	code, err := v.Source(ctx, s, "2")
	same(t, "code", code, err)
	code, err = v.AppliedSource(ctx, s)
	same(t, "code", code, err)
	must(t, v.Forget(ctx, s))
	must(t, v.Forget(ctx, s))
	_, err = v.AppliedSource(ctx, s)
	_, _, _, stateErr := v.State(ctx, s)
	if !errors.Is(err, vault.ErrNotFound) || !errors.Is(stateErr, vault.ErrNotFound) {
		t.Errorf("what is left of a forgotten stack: %v, %v", err, stateErr)
	}
}

func heldBy(err error, l vault.Lock) bool {
	var held *vault.Held
	return errors.As(err, &held) && sameLock(held.Lock, l)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, want string, got []byte, err error) {
	t.Helper()
	if err != nil || string(got) != want {
		t.Errorf("read %q, want %q: %v", got, want, err)
	}
}
