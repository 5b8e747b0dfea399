package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/hack/kube"
)

// TestScale runs a small benchmark and holds the counts. Times are for people to read: no test depends on them.
func TestScale(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	var table, progress bytes.Buffer
	o := options{tenants: 2, workspaces: 2, writers: 2, rest: 3 * time.Second, pairs: 5, order: "aba", progress: &progress}
	if err := run(t.Context(), o, file, &table); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	t.Log(table.String())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	// A consortium; 2 tenants, each with 5 objects in its home; 4 workspaces, half of them with 7 objects, half with 9.
	if want := 1 + 2*(1+5) + 4*1 + 2*7 + 2*9; r.Broletto.Objects != want || r.Plain[0].Objects != want || r.Plain[1].Objects != want {
		t.Errorf("%d objects were made by Broletto, %d and %d by the plain client, want %d", r.Broletto.Objects, r.Plain[0].Objects, r.Plain[1].Objects, want)
	}
	if r.Requests.Objects != 8 || r.Requests.TenantObjects != 5 {
		t.Errorf("%.2f objects per workspace and %.2f per home, want 8 and 5", r.Requests.Objects, r.Requests.TenantObjects)
	}
	if r.Requests.Mutating < r.Broletto.Objects-7 { // all but the manifests
		t.Errorf("%d mutating requests cannot have made %d objects: they were not counted", r.Requests.Mutating, r.Broletto.Objects-7)
	}
	if extra := r.Requests.Each - r.Requests.Objects; extra > 3 {
		t.Errorf("%.2f mutating requests per workspace beyond its objects, want at most 3\n%s", extra, text)
	}
	if r.Rest.Lease == 0 || r.Restart.Lease == 0 || r.Restart.Requests == 0 {
		t.Errorf("a lease and watches leave no trace in the counts: they count nothing\n%s", text)
	}
	if r.Rest.Mutating != 0 || r.Restart.Mutating != 0 {
		t.Errorf("%d mutating requests at rest, %d at a restart, want none", r.Rest.Mutating, r.Restart.Mutating)
	}
}

func TestAttribute(t *testing.T) {
	asked := func(verb, resource, subresource, namespace, name string) kube.AuditEvent {
		return kube.AuditEvent{User: operatorUser, Verb: verb, Resource: resource, Subresource: subresource, Namespace: namespace, Name: name}
	}
	lease := asked("update", "leases", "", "broletto-system", "broletto")
	people := asked("create", "workspaces", "", "lugano", "sito")
	people.User = kube.AdminUser
	got := attribute([]kube.AuditEvent{
		asked("create", "namespaces", "", "", "lugano"),
		asked("create", "namespaces", "", "lugano--sito", "lugano--sito"),
		asked("create", "rolebindings", "", "lugano--sito", "admin"),
		asked("update", "workspaces", "", "lugano", "sito"),
		asked("update", "workspaces", "status", "lugano", "sito"),
		asked("get", "serviceaccounts", "", "lugano--sito", "default"),
		asked("create", "resourcequotas", "", "lugano", "broletto"),
		asked("update", "tenants", "", "", "lugano"),
		asked("update", "tenants", "status", "", "lugano"),
		asked("update", "consortia", "status", "", "ticino"),
		lease, people,
	})
	want := writes{
		workspace: map[string]int{"lugano--sito": 4},
		tenant:    map[string]int{"lugano": 4},
		ledger:    map[string]int{"lugano": 1},
		other:     1,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(writes{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseSamples(t *testing.T) {
	got := parseSamples(`# HELP controller_runtime_reconcile_total Total
# TYPE controller_runtime_reconcile_total counter
controller_runtime_reconcile_total{controller="tenant",result="success"} 3
controller_runtime_reconcile_total{controller="tenant",result="requeue_after"} 2
controller_runtime_reconcile_total{controller="workspace",result="success"} 7
waits_sum{operation="get"} 0.5
go_goroutines 80
`)
	want := map[string]float64{"controller_runtime_reconcile_total/tenant": 5, "controller_runtime_reconcile_total/workspace": 7, "waits_sum": 0.5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		options options
		want    string
	}{
		"default":     {options{tenants: 50, workspaces: 3, writers: 8, order: "baaa"}, ""},
		"two b":       {options{tenants: 1, workspaces: 1, writers: 1, order: "bab"}, "-order"},
		"no a":        {options{tenants: 1, workspaces: 1, writers: 1, order: "b"}, "-order"},
		"other":       {options{tenants: 1, workspaces: 1, writers: 1, order: "abc"}, "-order"},
		"no tenants":  {options{workspaces: 1, writers: 1, order: "ab"}, "-tenants"},
		"no writers":  {options{tenants: 1, workspaces: 1, order: "ab"}, "-writers"},
		"too much":    {options{tenants: 1, workspaces: 501, writers: 1, order: "ab"}, "-workspaces"},
		"one of each": {options{tenants: 1, workspaces: 1, writers: 1, order: "ab"}, ""},
	} {
		err := c.options.check()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
