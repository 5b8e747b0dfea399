// Command broletto-mover does one backup, restore, verification or maintenance of a volume and ends. It is made to run in a Job. Its
// order comes in a file, as it has secrets; how far it is goes to standard output, a JSON object on a line, and so does its report at the end.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // stores have certificates, and the image knows no authorities but these

	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/mover"
)

// memory is where the garbage collector begins to work harder, in bytes. A mover's limit is 300 MiB.
const memory = 200 << 20

func main() { os.Exit(program()) }

// program returns the exit code.
func program() int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	order := flag.String("order", "/run/broletto/order.json", "file of the order; /dev/fd/3 is file descriptor 3")
	report := flag.String("report", "", "file for the report, such as /dev/termination-log; it is on standard output in any case")
	flag.Parse()
	if err := do(ctx, *order, *report); err != nil {
		fmt.Fprintln(os.Stderr, "broletto-mover:", err)
		return 1
	}
	return 0
}

// do returns an error when not all was done.
func do(ctx context.Context, order, report string) error {
	f, err := os.Open(order) //nolint:gosec // whoever starts us says where
	if err != nil {
		return err
	}
	o, err := move.ReadOrder(f)
	_ = f.Close()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	lines := json.NewEncoder(os.Stdout)
	line := func(kind string, v any) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(map[string]any{kind: v}) // nobody may be reading
	}
	m := mover.Mover{
		Tell: func(p move.Progress) { line("progress", p) },
		Say:  func(text string) { line("log", text) },
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
