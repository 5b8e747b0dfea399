// Command broletto-mover does one backup, restore, verification or maintenance of a volume and ends. It is made to run in a Job. Its
// order, which has secrets, comes from the operator's broker or in a file; how far it is goes to the broker and to standard output, a JSON
// object on a line, and so does its report at the end.
//
// With the argument dump or load it runs PostgreSQL's client programs for a mover in the same pod: it has the database's password, that one the order.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // an image without a distribution has no public authorities

	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/dump"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/mover"
	"github.com/broletto/broletto/operator/run"
)

// memory is where the garbage collector begins to work harder, in bytes. A mover's limit is 300 MiB.
const memory = 200 << 20

func main() { os.Exit(program()) }

func program() int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	order := flag.String("order", "", "file of the order; /dev/fd/3 is file descriptor 3. Empty: the broker is asked that "+run.EnvBroker+" names")
	report := flag.String("report", "", "file for the report, such as /dev/termination-log; it is on standard output in any case")
	flag.Parse()
	if err := do(ctx, *order, *report); err != nil {
		fmt.Fprintln(os.Stderr, "broletto-mover:", err)
		return 1
	}
	return 0
}

// do returns an error when not all was done.
func do(ctx context.Context, file, report string) error {
	if verb := flag.Arg(0); verb == "dump" || verb == "load" {
		return dump.PostgreSQL(move.DumpSocket, verb == "load", os.Environ(), os.Stderr).Serve(ctx)
	}
	o, tell, err := read(ctx, file)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	lines := json.NewEncoder(os.Stdout)
	line := func(kind string, v any) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(map[string]any{kind: v}) // nobody may be reading
	}
	m := mover.Mover{
		TellEvery: move.TellEvery,
		Tell: func(p move.Progress) {
			line("progress", p)
			if tell(ctx, p) != nil { // nobody wants it done any more
				stop()
			}
		},
		Say: func(text string) { line("log", text) },
	}
	r := m.Run(ctx, o)
	line("report", r)
	if report != "" {
		if err := writeReport(report, r); err != nil {
			return err
		}
	}
	if r.Failure != nil {
		return fmt.Errorf("%s: %s", r.Failure.Class, r.Failure.Message)
	}
	return nil
}

// read reads the order, from a file or the broker, and says whom to tell how far it is. That one returns an error when the order holds no more.
func read(ctx context.Context, file string) (o move.Order, tell func(context.Context, move.Progress) error, err error) {
	if file != "" {
		f, err := os.Open(file) //nolint:gosec // whoever starts us says where
		if err != nil {
			return o, nil, err
		}
		defer func() { _ = f.Close() }()
		o, err = move.ReadOrder(f)
		return o, func(context.Context, move.Progress) error { return nil }, err
	}
	broker, err := client.New(os.Getenv(run.EnvBroker), os.Getenv(run.EnvBrokerCA), cmp.Or(os.Getenv(run.EnvToken), move.TokenFile))
	if err != nil {
		return o, nil, err
	}
	patient, end := context.WithTimeout(ctx, orderPatience)
	defer end()
	data, err := broker.Call(patient, http.MethodPost, move.PathOrder, nil, nil)
	if err != nil {
		return o, nil, fmt.Errorf("asking the broker for the order: %w", err)
	}
	o, err = move.ReadOrder(bytes.NewReader(data))
	return o, func(ctx context.Context, p move.Progress) error {
		data, err := json.Marshal(p)
		if err != nil {
			return err
		}
		_, err = broker.Once(ctx, http.MethodPost, move.PathProgress, data, nil)
		if _, refused := errors.AsType[*run.Problem](err); refused {
			if _, passes := errors.AsType[*client.Passing](err); !passes {
				return err
			}
		}
		return nil // it is told again
	}, err
}

// orderPatience is how long an order is waited for.
const orderPatience = 10 * time.Minute

// terminationMessage is how much a kubelet reads of a container's last words, in bytes.
const terminationMessage = 4096

// writeReport writes a report that the kubelet passes on, with as many of its problems as there is room for.
func writeReport(path string, r move.Report) error {
	for {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if len(text) <= terminationMessage || len(r.Problems) == 0 {
			return os.WriteFile(path, text, 0o600)
		}
		r.Problems = r.Problems[:len(r.Problems)/2]
	}
}
