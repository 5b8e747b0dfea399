package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// odd are values that some parser takes for another than the next one does: for any place, for texts, for numbers.
var (
	odd      = []string{`null`, `true`, `0`, `1.0`, `1e21`, `"0"`, `""`, `[]`, `[null]`, `[[]]`, `{}`, `{"a": null}`, `{"a": "1e1.5"}`, `[{}]`}
	oddTexts = []string{
		`" "`, `"\u0000"`, `"\ud800"`, `"-1"`, `"1e3"`, `"1e1000"`, `"1e1.5"`, `"9Ei"`, `"9223372036854775808"`, `".5"`, `"1."`, `"1Pi"`, `"999999999h"`,
		`"2024-02-29"`, `"0000-01-01"`, `"9999-12-31"`, `"2027-06-30T00:00:00Z"`, `"2027-06-30t00:00:00z"`, `"2027-06-30T00:00:00.123456789Z"`,
		`"2027-06-30T00:00:00+25:00"`, `"2027-06-30T00:00:00x5Z"`, `"2027-06-30T23:59:60Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`,
	}
	oddNumbers = []string{`-1`, `-0.0`, `1e2`, `0.5`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`}
)

// TestWhatIsAcceptedCanBeRead puts every odd value in every place. One object that the API server accepts and a Go client
// cannot decode would stop the List of its whole kind, and with it the operator, for all tenants.
func TestWhatIsAcceptedCanBeRead(t *testing.T) {
	for i, kind := range slices.Sorted(maps.Keys(kinds)) { // instances before offerings, all of which a policy asks about each instance
		k := kinds[kind]
		t.Run(kind, func(t *testing.T) {
			accepted := k.oddities(t, creation, "/spec", func(edits) bool { return true })
			t.Logf("%d oddities of the spec are accepted", accepted)
			accepted = k.oddities(t, status, "/status", func(e edits) bool { // conditions are Kubernetes' own type, the same in every kind
				return decodable(e) && (i == 0 || !strings.HasPrefix(string(e), "/status/conditions/0"))
			})
			t.Logf("%d oddities of the status are accepted", accepted)
			if err := cluster.Client(t, cluster.Admin()).List(t.Context(), k.list()); err != nil {
				t.Error(err)
			}
		})
	}
}

// decodable leaves out what no rule can keep out at a bearable cost: the amounts of 500 ledger entries. Only the operator
// writes there, and it writes what Go has formatted.
func decodable(e edits) bool {
	return !strings.HasPrefix(string(e), "/status/allocations/0/quota") && !strings.HasPrefix(string(e), "/status/allocations/0/releasing")
}

// oddities stores every odd value in every place below a pointer, if the API server lets it, and reads it back.
func (k kindOf) oddities(t *testing.T, how via, below string, fair func(edits) bool) (accepted int) {
	var work []edits
	places(below, k.object(t)[strings.TrimPrefix(below, "/")], func(pointer string, valid any) {
		values := odd
		switch valid.(type) {
		case string:
			values = slices.Concat(odd, oddTexts)
		case float64:
			values = slices.Concat(odd, oddNumbers)
		}
		for _, value := range values {
			if e := edits(pointer + " " + value + "\n"); fair(e) {
				work = append(work, e)
			}
		}
	})
	var lock sync.Mutex
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := worker; i < len(work); i += 4 {
				if k.readable(t, how, i, work[i]) {
					lock.Lock()
					accepted++
					lock.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return accepted
}

// readable tells whether an oddity is accepted, and complains if it then cannot be read.
func (k kindOf) readable(t *testing.T, how via, number int, e edits) bool {
	var o map[string]any
	if how == creation {
		o = e.apply(t, k.object(t))
		o["metadata"].(map[string]any)["name"] = "odd-" + strconv.Itoa(number)
	} else {
		o = e.apply(t, k.stored(t, ""))
	}
	stored, err := k.send(t, how, o, mode(how != creation))
	if err != nil {
		return false
	}
	text, _ := json.Marshal(stored)
	if err := json.Unmarshal(text, k.typed()); err != nil {
		t.Errorf("accepted and unreadable: %s: %v", e, err)
	}
	return true
}

// places visits a value and all within it; of a list, its first item.
func places(at string, value any, visit func(pointer string, value any)) {
	visit(at, value)
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			places(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key), value[key], visit)
		}
	case []any:
		if len(value) > 0 {
			places(at+"/0", value[0], visit)
		}
	}
}

func (k kindOf) typed() runtime.Object { return k.new("") }

func (k kindOf) list() client.ObjectList { return k.new("List").(client.ObjectList) }

func (k kindOf) new(suffix string) runtime.Object {
	for kind := range kinds {
		if kinds[kind].resource == k.resource {
			o, err := cluster.Scheme().New(v1alpha1.GroupVersion.WithKind(kind + suffix))
			if err != nil {
				panic(err)
			}
			return o
		}
	}
	panic(fmt.Sprint("no kind has the resource ", k.resource))
}
