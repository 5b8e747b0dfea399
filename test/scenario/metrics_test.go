package scenario

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/broletto/broletto/test/cluster"
)

// controllers are the controllers of the operator, as its metrics call them.
var controllers = []string{"consortium", "tenant", "workspace"}

// scrape reads the operator's metrics as one who may.
func (o *operator) scrape(ctx context.Context, t testing.TB) (samples, error) {
	token, err := readerToken(ctx, admin(t))
	if err != nil {
		return nil, err
	}
	status, body, err := get(ctx, "https://"+o.metrics+"/metrics", token)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%d: %s", status, body)
	}
	return parse(body), nil
}

// samples are the values of a scrape, each under its name with labels as they stand in the text.
type samples map[string]float64

func parse(text string) samples {
	out := samples{}
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		if value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			out[line[:at]] = value
		}
	}
	return out
}

// of is the sum of the samples of one name that carry a label, and whether there are any.
func (s samples) of(name, label string) (sum float64, found bool) {
	for key, value := range s {
		if strings.HasPrefix(key, name+"{") && strings.Contains(key, label) {
			sum, found = sum+value, true
		}
	}
	return sum, found
}

func (o *operator) wantNoPanics(t testing.TB) {
	t.Helper()
	seen, err := o.scrape(context.WithoutCancel(t.Context()), t) // this is asked at the end of a test as well
	if err != nil {
		t.Errorf("reading how often the operator panicked: %v", err)
		return
	}
	for _, controller := range controllers {
		label := fmt.Sprintf("controller=%q", controller)
		panics, told := seen.of("controller_runtime_reconcile_panics_total", label)
		_, worked := seen.of("controller_runtime_reconcile_total", label) // one that never led has nothing to tell
		if panics != 0 || told != worked {
			t.Errorf("controller %s panicked %v times (told: %t), want 0", controller, panics, told)
		}
	}
}

// awaitWorked waits until each controller has looked at so many objects at least and has nothing more to do. It reads the
// operator's own counts: a look that finds nothing to do leaves no trace elsewhere.
func (o *operator) awaitWorked(t testing.TB, objects map[string]int) {
	t.Helper()
	last, since := -1.0, time.Now()
	cluster.Eventually(t, long, "the operator has looked at everything", func() error {
		seen, err := o.scrape(t.Context(), t)
		if err != nil {
			return err
		}
		looks := 0.0
		for controller, want := range objects {
			label := fmt.Sprintf("controller=%q", controller)
			did, _ := seen.of("controller_runtime_reconcile_total", label)
			depth, _ := seen.of("workqueue_depth", label)
			busy, _ := seen.of("controller_runtime_active_workers", label)
			if looks += did; did < float64(want) || depth+busy > 0 {
				return fmt.Errorf("controller %s looked %v times, want %d at least; %v wait, %v are under way", controller, did, want, depth, busy)
			}
		}
		if looks != last {
			last, since = looks, time.Now()
		}
		if rest := time.Second - time.Since(since); rest > 0 {
			return fmt.Errorf("it looked just now")
		}
		return nil
	})
}
