package run_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func change(address, kind string, actions ...string) run.Change {
	return run.Change{Address: address, Type: kind, Actions: actions}
}

func TestDigestIsTheSameForTheSamePlan(t *testing.T) {
	a := []run.Change{
		{Address: "b.x", Type: "b", Actions: []string{"create"}, Values: run.Values{After: json.RawMessage(`{"n": 1, "m": {"y":2,"x":[1,2]}}`)}},
		change("a.x", "a", "delete"),
	}
	b := []run.Change{
		change("a.x", "a", "delete"),
		{Address: "b.x", Type: "b", Actions: []string{"create"}, Values: run.Values{
			Before: json.RawMessage(`null`), After: json.RawMessage(`{"m":{"x":[1,2],"y":2},"n":1}`)}},
	}
	outA := map[string]run.Values{"u": {After: json.RawMessage(`"<a>"`)}, "v": {}}
	outB := map[string]run.Values{"v": {}, "u": {After: json.RawMessage(`"\u003ca\u003e"`)}}
	if x, y := run.Digest(key, a, outA), run.Digest(key, b, outB); x != y {
		t.Errorf("%s and %s are digests of one plan", x, y)
	}
	if d := run.Digest(key, nil, nil); len(d) != 76 || !strings.HasPrefix(string(d), "hmac-sha256:") {
		t.Errorf("%q is no digest", d)
	}
}

func TestDigestTellsPlansApart(t *testing.T) {
	base := func() run.Change {
		return run.Change{Address: "a.x", Type: "a", Actions: []string{"update"}, Values: run.Values{
			Before: json.RawMessage(`{"n":1}`), After: json.RawMessage(`{"n":12345678901234567890}`), Unknown: json.RawMessage(`{}`)}}
	}
	of := func(edit func(*run.Change)) []run.Change {
		c := base()
		edit(&c)
		return []run.Change{c}
	}
	plans := map[string][]run.Change{
		"none":              nil,
		"base":              {base()},
		"twice":             {base(), base()},
		"address":           of(func(c *run.Change) { c.Address = "a.y" }),
		"type":              of(func(c *run.Change) { c.Type = "b" }),
		"action":            of(func(c *run.Change) { c.Actions = []string{"create"} }),
		"delete, create":    of(func(c *run.Change) { c.Actions = []string{"delete", "create"} }),
		"create, delete":    of(func(c *run.Change) { c.Actions = []string{"create", "delete"} }),
		"before":            of(func(c *run.Change) { c.Before = json.RawMessage(`{"n":2}`) }),
		"a large number":    of(func(c *run.Change) { c.After = json.RawMessage(`{"n":12345678901234567891}`) }),
		"a number as text":  of(func(c *run.Change) { c.After = json.RawMessage(`{"n":"12345678901234567890"}`) }),
		"unknown":           of(func(c *run.Change) { c.Unknown = json.RawMessage(`{"n":true}`) }),
		"swapped":           of(func(c *run.Change) { c.Before, c.After = c.After, c.Before }),
		"no JSON":           of(func(c *run.Change) { c.After = json.RawMessage(`{"n":`) }),
		"other no JSON":     of(func(c *run.Change) { c.After = json.RawMessage(`{"n"`) }),
		"something behind":  of(func(c *run.Change) { c.After = json.RawMessage(`{"n":12345678901234567890} 1`) }),
		"address with type": of(func(c *run.Change) { c.Address, c.Type = "a.xa", "" }),
	}
	seen := map[v1alpha1.Digest]string{run.Digest(key[1:], []run.Change{base()}, nil): "another key"}
	for name, plan := range plans {
		for _, outputs := range []map[string]run.Values{nil, {"o": {}}, {"p": {}}, {"o": {After: json.RawMessage(`1`)}}, {"o": {Before: json.RawMessage(`1`)}}} {
			d, name := run.Digest(key, plan, outputs), fmt.Sprintf("%s with %v", name, outputs)
			if other, ok := seen[d]; ok {
				t.Errorf("%s and %s have one digest", name, other)
			}
			seen[d] = name
		}
	}
	if run.Passphrase(key) == run.Passphrase(key[1:]) || len(run.Passphrase(key)) != 64 {
		t.Error("a passphrase is not of its key")
	}
}

func TestSummarize(t *testing.T) {
	got := run.Summarize([]run.Change{
		change("d.x", "d", "delete", "create"), change("c.x", "c", "delete"), change("b.x", "b", "update"),
		change("a.x", "a", "create"), change("e.x", "e", "create", "delete"), change("f.x", "f", "forget"),
	}, map[string]run.Values{"o": {}}, "hmac-sha256:1")
	want := v1alpha1.PlanSummary{
		Digest: "hmac-sha256:1", Adds: 3, Changes: 1, Destroys: 3, Outputs: 1,
		Replaced: []v1alpha1.ResourceAddress{"d.x", "e.x"},
		Resources: []v1alpha1.PlannedChange{{Address: "a.x", Action: "Create"}, {Address: "b.x", Action: "Update"},
			{Address: "c.x", Action: "Delete"}, {Address: "d.x", Action: "Replace"}, {Address: "e.x", Action: "Replace"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	empty := run.Summarize(nil, nil, "")
	if !empty.Empty() {
		t.Errorf("%v is not empty", empty)
	}
}

func TestSummarizeStaysWithinTheAPI(t *testing.T) {
	var changes []run.Change
	for i := range 300 {
		changes = append(changes, change(fmt.Sprintf("a.%03d%s", i, strings.Repeat("é", 600)), "a", "delete", "create"))
	}
	s := run.Summarize(append(changes, change("", "a", "create")), nil, "")
	if s.Adds != 301 || s.Destroys != 300 || len(s.Resources) != run.MaxListed || len(s.Replaced) != run.MaxListed {
		t.Errorf("%d adds, %d destroys, %d listed, %d replaced", s.Adds, s.Destroys, len(s.Resources), len(s.Replaced))
	}
	for _, r := range s.Resources {
		if r.Address == "" || len(r.Address) > 512 {
			t.Errorf("%d bytes of address", len(r.Address))
		}
	}
}

func TestRefuse(t *testing.T) {
	two := int32(2)
	deletes := []run.Change{change("a.1", "a", "delete"), change("a.2", "a", "delete", "create"), change("a.3", "a", "create", "delete")}
	for name, row := range map[string]struct {
		order   run.Order
		changes []run.Change
		want    string // part of the message; empty: not refused
	}{
		"nothing asked":               {run.Order{}, deletes, ""},
		"as many as may go":           {run.Order{MaxDestroy: &two}, deletes[:2], ""},
		"too many":                    {run.Order{MaxDestroy: &two}, deletes, "destroys or replaces 3 resources, and spec.maxDestroy is 2: a.1, a.2, a.3"},
		"too many, but asked for":     {run.Order{MaxDestroy: &two, Operation: v1alpha1.OperationDestroy}, deletes, ""},
		"protected":                   {run.Order{Protected: []string{"a.2"}}, deletes, "spec.protected names: a.2; change"},
		"protected from Destroy":      {run.Order{Protected: []string{"a.1"}, Operation: v1alpha1.OperationDestroy}, deletes, "deletionPolicy to Orphan"},
		"protected is changed":        {run.Order{Protected: []string{"a.1"}}, []run.Change{change("a.1", "a", "update")}, ""},
		"protected is another":        {run.Order{Protected: []string{"a", "a.12", ".1"}}, deletes[:1], "names: a.1"},
		"no part of a name":           {run.Order{Protected: []string{"a.1"}}, []run.Change{change("a.12", "a", "delete")}, ""},
		"an instance":                 {run.Order{Protected: []string{"a.x"}}, []run.Change{change(`a.x["b"]`, "a", "delete")}, `names: a.x["b"]`},
		"a module":                    {run.Order{Protected: []string{"module.db"}}, []run.Change{change("module.db[0].a.x", "a", "delete")}, "names: module.db[0].a.x"},
		"another module":              {run.Order{Protected: []string{"module.db"}}, []run.Change{change("module.db2.a.x", "a", "delete")}, ""},
		"a forbidden type":            {run.Order{Forbidden: []string{"null_resource"}}, []run.Change{change("null_resource.x", "null_resource", "create")}, "rules out: null_resource.x"},
		"a forbidden type by pattern": {run.Order{Forbidden: []string{"aws_*"}}, []run.Change{change("aws_s3.x", "aws_s3", "update")}, "rules out: aws_s3.x"},
		"a forbidden type goes":       {run.Order{Forbidden: []string{"aws_*"}}, []run.Change{change("aws_s3.x", "aws_s3", "delete")}, ""},
		"no forbidden type":           {run.Order{Forbidden: []string{"aws_s3"}}, []run.Change{change("aws_s3_object.x", "aws_s3_object", "create")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := run.Refuse(row.order, row.changes)
			if (got != nil) != (row.want != "") || got != nil && (!strings.Contains(got.Message, row.want) || got.Class != v1alpha1.FailureRefused) {
				t.Errorf("got %v, want %q", got, row.want)
			}
		})
	}
}

func TestRefusalsAreShort(t *testing.T) {
	zero := int32(0)
	var changes []run.Change
	for i := range 300 {
		changes = append(changes, change(fmt.Sprintf("a.%d%s", i, strings.Repeat("x", 1000)), "a", "delete"))
	}
	got := run.Refuse(run.Order{MaxDestroy: &zero}, changes)
	if got == nil || len(got.Message) > 2048 || !strings.Contains(got.Message, "and 295 more") || !strings.Contains(got.Message, "raise spec.maxDestroy") {
		t.Errorf("%v", got)
	}
}
