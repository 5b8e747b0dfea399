package probe

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs a server on a free port of the loopback until the test ends.
func serve(t *testing.T, name string) string {
	t.Helper()
	server, err := Listen(t.Context(), "", 0, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("a server that is stopped fails: %v", err)
		}
	})
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(server.Port()))
}

func TestOutcomes(t *testing.T) {
	open := serve(t, "server-1")
	var config net.ListenConfig
	silent, err := config.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	other, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	go func() {
		for {
			connection, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Write([]byte("HTTP/1.1 400 Bad Request\n"))
			_ = connection.Close()
		}
	}()
	type seen struct {
		Outcome    Outcome
		Open       bool
		AnsweredBy string
	}
	cases := map[string]struct {
		target string
		want   seen
	}{
		"TCP, answered":                   {"tcp://" + open, seen{Open, true, "server-1"}},
		"UDP, answered":                   {"udp://" + open, seen{Open, true, "server-1"}},
		"TCP, nobody listens":             {"tcp://127.0.0.1:1", seen{Outcome: Refused}},
		"UDP, nobody listens":             {"udp://127.0.0.1:1", seen{Outcome: Refused}},
		"TCP, another service":            {"tcp://" + other.Addr().String(), seen{Outcome: Connected}},
		"UDP, nothing comes back":         {"udp://" + silent.LocalAddr().String(), seen{Outcome: Timeout}},
		"a name that resolves to nothing": {"tcp://nobody.invalid:80", seen{Outcome: Failed}},
		"no target at all":                {"http://127.0.0.1:80", seen{Outcome: Failed}},
	}
	var targets []string
	for _, c := range cases {
		targets = append(targets, c.target)
	}
	results := map[string]Result{}
	for _, r := range Try(t.Context(), targets, 400*time.Millisecond) {
		results[r.Target] = r
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := results[c.target]
			if diff := cmp.Diff(c.want, seen{r.Outcome, r.Open, r.AnsweredBy}); diff != "" {
				t.Errorf("%s (-want +got):\n%s%s", c.target, diff, r.Error)
			}
			if r.Open == (r.Error != "") {
				t.Errorf("open %v and error %q: want just one of them", r.Open, r.Error)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	cases := map[string]struct {
		question, want string
	}{
		"a question":              {"broletto-probe ABC\n", "broletto-probe ABC server-1\n"},
		"without an end":          {"broletto-probe ABC", ""},
		"without a nonce":         {"broletto-probe \n", ""},
		"an answer, sent back":    {"broletto-probe ABC server-2\n", ""},
		"two lines":               {"broletto-probe A\nB\n", ""},
		"another protocol's text": {"GET / HTTP/1.1\n", ""},
		"nothing":                 {"", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := answer([]byte(c.question), "server-1"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	question := ask()
	if name, ok := answered(question, answer([]byte(question), "server-1")); !ok || name != "server-1" {
		t.Errorf("our own question is answered by %q, %v", name, ok)
	}
	if name, ok := answered(question, answer([]byte(ask()), "server-1")); ok {
		t.Errorf("the answer to another question passes for ours, by %q", name)
	}
}

// TestUntil opens a server only after some attempts have failed.
func TestUntil(t *testing.T) {
	first, err := Listen(t.Context(), "", 0, "early")
	if err != nil {
		t.Fatal(err)
	}
	port := first.Port()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := first.Serve(ctx); err != nil { // the port is free again
		t.Fatal(err)
	}
	target := "tcp://127.0.0.1:" + strconv.Itoa(port)
	time.AfterFunc(600*time.Millisecond, func() {
		if late, err := Listen(t.Context(), "", uint16(port), "late"); err == nil {
			_ = late.Serve(t.Context())
		}
	})
	opened := TryUntil(t.Context(), []string{target}, time.Second,
		Until{Wanted: func(r Result) bool { return r.Open }, Times: 2, Within: 10 * time.Second})[0]
	if opened.AnsweredBy != "late" || opened.Waited < 750 || opened.InRow != 2 {
		t.Errorf("got %+v, want the second answer after half a second", opened)
	}
	begin := time.Now()
	still := TryUntil(t.Context(), []string{target}, time.Second, Until{Wanted: Result.Closed, Within: 600 * time.Millisecond})[0]
	if !still.Open || time.Since(begin) > 3*time.Second {
		t.Errorf("after %s: %+v, want an end with the target still open", time.Since(begin), still)
	}
}

func TestCommand(t *testing.T) {
	target := "udp://" + serve(t, "server-1")
	report := filepath.Join(t.TempDir(), "termination-log")
	var out strings.Builder
	command := Command()
	command.SetOut(&out)
	command.SetArgs([]string{"try", "--report", report, "--until", "open", target, "tcp://127.0.0.1:1", "--within", "1ms"})
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(report)
	if err != nil || string(written) != out.String() {
		t.Errorf("the report holds %q, %v; printed was %q", written, err, out.String())
	}
	decoder := json.NewDecoder(strings.NewReader(out.String()))
	for _, want := range []Result{{Target: target, Open: true}, {Target: "tcp://127.0.0.1:1"}} {
		var got Result
		if err := decoder.Decode(&got); err != nil || got.Target != want.Target || got.Open != want.Open {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for name, arguments := range map[string][]string{
		"no target":    {"try"},
		"a bad target": {"try", "127.0.0.1:80"},
		"a bad until":  {"try", target, "--until", "shut"},
	} {
		command := Command()
		command.SilenceUsage, command.SilenceErrors = true, true
		command.SetArgs(arguments)
		if err := command.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
