package v1alpha1_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// A row asks the API server for one write, as a dry run, and says what it must answer.
type row struct {
	reason string
	via    via
	// from edits the valid object that is stored before an update or a write of status.
	from edits
	// edit makes what is sent from what is stored or, for a creation, from the valid object.
	edit edits
	// want is a part of the API server's message. Empty means that it accepts the write.
	want string
	// gets is what then stands in the object, in the form of edits: a pointer alone means nothing.
	gets edits
}

type via int

const (
	creation via = iota
	update
	status
)

// edits are lines "pointer value": a JSON pointer and the value, in JSON or YAML, that is put there. Without a value
// what is there is removed. A last step "-" appends to a list.
type edits string

// kindOf is what the tests know about one kind.
type kindOf struct {
	resource  string
	namespace string
	valid     string // the file that holds the fullest object
	rows      func() map[string]row
}

var kinds = map[string]kindOf{
	"Consortium": {resource: "consortia", valid: "testdata/consortium.yaml", rows: consortiumRows},
	"Tenant":     {resource: "tenants", valid: "testdata/tenant.yaml", rows: tenantRows},
	"Workspace":  {resource: "workspaces", namespace: "default", valid: "testdata/workspace.yaml", rows: workspaceRows},
	"Stack":      {resource: "stacks", namespace: "default", valid: "testdata/stack.yaml", rows: stackRows},
	"StackRun":   {resource: "stackruns", namespace: "default", valid: "testdata/stackrun.yaml", rows: stackRunRows},

	"ServiceOffering": {resource: "serviceofferings", valid: "testdata/serviceoffering.yaml", rows: serviceOfferingRows},
	"ServiceInstance": {resource: "serviceinstances", namespace: "default", valid: "testdata/serviceinstance.yaml", rows: serviceInstanceRows},

	"BackupRepository": {resource: "backuprepositories", valid: "testdata/backuprepository.yaml", rows: backupRepositoryRows},
	"BackupPolicy":     {resource: "backuppolicies", namespace: "default", valid: "testdata/backuppolicy.yaml", rows: backupPolicyRows},
	"Backup":           {resource: "backups", namespace: "default", valid: "testdata/backup.yaml", rows: backupRows},
	"Restore":          {resource: "restores", namespace: "default", valid: "testdata/restore.yaml", rows: restoreRows},
}

func TestValidation(t *testing.T) {
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			rows := k.rows()
			for _, name := range slices.Sorted(maps.Keys(rows)) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if complaint := k.judge(t, rows[name]); complaint != "" {
						t.Errorf("%s: %s", rows[name].reason, complaint)
					}
				})
			}
		})
	}
}

// failure is in the API server's answer when a rule itself is wrong.
var failure = regexp.MustCompile("no such key|no such overload|for rule:|cost budget")

// judge asks what the row asks and says what is wrong with the answer.
func (k kindOf) judge(t testing.TB, r row) (complaint string) {
	t.Helper()
	got, err := k.ask(t, r)
	switch {
	case err != nil && !errors.IsInvalid(err) && !errors.IsBadRequest(err):
		return fmt.Sprintf("not an answer about the object: %v", err)
	case err != nil && failure.MatchString(err.Error()):
		return fmt.Sprintf("a rule failed instead of answering: %v", err)
	case r.want == "" && err != nil:
		return fmt.Sprintf("refused: %v", err)
	case r.want != "" && err == nil:
		return "accepted, want a message with: " + r.want
	case r.want != "" && !strings.Contains(err.Error(), r.want):
		return fmt.Sprintf("want a message with: %s\ngot: %v", r.want, err)
	}
	return r.gets.missing(t, got)
}

// ask sends the write of the row as a dry run and returns the object that would be stored.
func (k kindOf) ask(t testing.TB, r row) (map[string]any, error) {
	t.Helper()
	if r.via == creation {
		return k.send(t, r.via, r.edit.apply(t, k.object(t)), dryRun)
	}
	return k.send(t, r.via, r.edit.apply(t, k.stored(t, r.from)), dryRun)
}

// object is the valid object.
func (k kindOf) object(t testing.TB) map[string]any {
	t.Helper()
	text, err := os.ReadFile(k.valid)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := yaml.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

var (
	store     = map[string][]byte{}
	storeLock sync.Mutex
)

// stored creates the valid object with edits, under a name of its own, once, and returns it as the API server keeps it.
func (k kindOf) stored(t testing.TB, from edits) map[string]any {
	t.Helper()
	storeLock.Lock()
	defer storeLock.Unlock()
	key := k.resource + string(from)
	if _, found := store[key]; !found {
		o := from.apply(t, k.object(t))
		o["metadata"].(map[string]any)["name"] = "stored-" + strconv.Itoa(len(store))
		created, err := k.send(t, creation, o, forReal)
		if err != nil {
			t.Fatalf("the object before the change: %v", err)
		}
		if asked, has := o["status"]; has {
			created["status"] = asked
			if created, err = k.send(t, status, created, forReal); err != nil {
				t.Fatalf("its status: %v", err)
			}
		}
		if store[key], err = json.Marshal(created); err != nil {
			t.Fatal(err)
		}
	}
	return decode(t, store[key])
}

type mode bool

const (
	dryRun  mode = true
	forReal mode = false
)

var restClient = sync.OnceValue(func() rest.Interface {
	cfg := cluster.Admin()
	cfg.APIPath, cfg.GroupVersion = "/apis", &v1alpha1.GroupVersion
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(cluster.Scheme()).WithoutConversion()
	c, err := rest.RESTClientFor(cfg)
	if err != nil {
		panic(err)
	}
	return c
})

// send writes an object as it stands, so that nothing of ours tidies up what is wrong with it. Unknown fields are errors.
func (k kindOf) send(t testing.TB, how via, o map[string]any, m mode) (map[string]any, error) {
	t.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := o["metadata"].(map[string]any)["name"].(string)
	var request *rest.Request
	switch how {
	case creation:
		request = restClient().Post()
	case update:
		request = restClient().Put().Name(name)
	case status:
		request = restClient().Put().Name(name).SubResource("status")
	}
	request = request.Resource(k.resource).Param("fieldValidation", "Strict").Body(body).SetHeader("Content-Type", "application/json")
	if k.namespace != "" {
		request = request.Namespace(k.namespace)
	}
	if m == dryRun {
		request = request.Param("dryRun", "All")
	}
	result := request.Do(context.WithoutCancel(t.Context()))
	if err := result.Error(); err != nil {
		return nil, err
	}
	answer, err := result.Raw()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, answer), nil
}

// decode keeps numbers as they were written.
func decode(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

func (e edits) apply(t testing.TB, o map[string]any) map[string]any {
	t.Helper()
	e.each(t, func(steps []string, value any, put bool) {
		o = edit(t, o, steps, value, put).(map[string]any)
	})
	return o
}

// each calls f for each line, with the steps of its pointer.
func (e edits) each(t testing.TB, f func(steps []string, value any, put bool)) {
	t.Helper()
	for line := range strings.Lines(string(e)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		pointer, text, put := strings.Cut(line, " ")
		var steps []string
		for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
		}
		var value any
		if put {
			value = parse(t, text)
		}
		f(steps, value, put)
	}
}

// missing says what an object lacks of that which the edits would put there.
func (e edits) missing(t testing.TB, o map[string]any) (complaint string) {
	t.Helper()
	e.each(t, func(steps []string, want any, put bool) {
		var got any = o
		for _, step := range steps {
			switch node := got.(type) {
			case map[string]any:
				got = node[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i >= len(node) {
					t.Fatalf("no item %s in a list of %d", step, len(node))
				}
				got = node[i]
			default:
				got = nil
			}
		}
		wanted, _ := json.Marshal(want)
		found, _ := json.Marshal(got)
		if !bytes.Equal(wanted, found) {
			complaint = fmt.Sprintf("%s holds %s, want %s", strings.Join(steps, "/"), found, wanted)
		}
	})
	return complaint
}

// parse reads JSON literally, numbers included, and anything else as YAML.
func parse(t testing.TB, text string) any {
	t.Helper()
	var value any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err == nil && !d.More() {
		return value
	}
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// edit returns node with value put at, or removed from, the end of steps.
func edit(t testing.TB, node any, steps []string, value any, put bool) any {
	t.Helper()
	if len(steps) == 0 {
		return value
	}
	last := len(steps) == 1
	switch node := node.(type) {
	case map[string]any:
		if last && !put {
			if _, has := node[steps[0]]; !has {
				t.Fatalf("nothing to remove at %s", steps[0])
			}
			delete(node, steps[0])
			return node
		}
		child, has := node[steps[0]]
		if !has {
			child = map[string]any{}
		}
		node[steps[0]] = edit(t, child, steps[1:], value, put)
		return node
	case []any:
		if steps[0] == "-" {
			return append(node, edit(t, map[string]any{}, steps[1:], value, put))
		}
		i, err := strconv.Atoi(steps[0])
		if err != nil || i >= len(node) {
			t.Fatalf("no item %s in a list of %d", steps[0], len(node))
		}
		if last && !put {
			return slices.Delete(node, i, i+1)
		}
		node[i] = edit(t, node[i], steps[1:], value, put)
		return node
	default:
		t.Fatalf("%s is below %v, which has no fields", steps[0], node)
		return nil
	}
}

// put is an edit whose value Go writes.
func put(pointer string, value any) edits {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return edits(pointer + " " + string(text) + "\n")
}

// long is a text of n letters.
func long(n int) string { return strings.Repeat("a", n) }

// many are n items that item makes from their numbers.
func many[T any](n int, item func(i int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = item(i)
	}
	return out
}
