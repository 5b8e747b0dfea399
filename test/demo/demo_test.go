package demo

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/broletto/broletto/test/cluster"
)

// demo is "broletto demo", a process of its own with a data folder of its own.
type demo struct {
	command *exec.Cmd
	dir     string
	ended   chan struct{}
	err     error // set when ended is closed
	lock    sync.Mutex
	text    bytes.Buffer
}

// Write collects what the demo prints.
func (d *demo) Write(text []byte) (int, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	return d.text.Write(text)
}

func (d *demo) output() string {
	d.lock.Lock()
	defer d.lock.Unlock()
	return d.text.String()
}

// startDemo runs a demo with these settings on top of our environment. One that has not ended with the test is killed.
func startDemo(t *testing.T, dir string, env []string, args ...string) *demo {
	t.Helper()
	d := &demo{dir: dir, ended: make(chan struct{}), command: exec.Command(broletto, append([]string{"demo", "--dir", dir}, args...)...)}
	d.command.Env = append(os.Environ(), env...)
	d.command.Stdout, d.command.Stderr = d, d
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.command.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.command.Process.Kill() // it has ended unless the test failed
		<-d.ended
		if t.Failed() {
			t.Logf("the demo printed:\n%s", d.output())
		}
	})
	return d
}

// awaitOutput waits until the demo has printed something.
func (d *demo) awaitOutput(t *testing.T, want string) {
	t.Helper()
	cluster.Eventually(t, 5*long, fmt.Sprintf("the demo prints %q", want), func() error {
		if !strings.Contains(d.output(), want) {
			select {
			case <-d.ended:
				t.Fatalf("the demo ended (%v) before it printed %q", d.err, want)
			default:
				return fmt.Errorf("it printed\n%s", d.output())
			}
		}
		return nil
	})
}

// wantEnd wants the demo to end by itself with a status, and nothing that it started to live on.
func (d *demo) wantEnd(t *testing.T, within time.Duration, status int) {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(within):
		t.Fatalf("the demo has not ended after %s", within)
	}
	if got := d.command.ProcessState.ExitCode(); got != status {
		t.Errorf("the demo ended with status %d (%v), want %d", got, d.err, status)
	}
	if left := processesOf(t, d.dir); len(left) > 0 {
		t.Errorf("the demo left processes behind:\n  %s", strings.Join(left, "\n  "))
	}
	if text := d.output(); strings.Contains(text, "panic:") || strings.Contains(text, "goroutine ") {
		t.Error("the demo panicked")
	}
}

// processesOf are the processes that work in a folder, or were told of it on their command line or in their environment.
func processesOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(all) == 0 {
		t.Log("this system does not tell which processes run")
		return nil
	}
	for _, process := range all {
		if process == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join(process, "cwd")) // a process may end while we look at it
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(process, "environ"))
		if strings.HasPrefix(cwd+"/", dir+"/") || bytes.Contains(command, []byte(dir)) || bytes.Contains(environment, []byte(dir+"/")) {
			out = append(out, filepath.Base(process)+" "+string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	return out
}

// TestDemo runs the demo as one who tries it does: once, where all is built and there is no go command; for longer, until its operator is
// killed; and again.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	t.Run("once, without go", func(t *testing.T) {
		d := startDemo(t, dir, []string{"PATH=" + t.TempDir()}, "--once")
		d.wantEnd(t, 5*long, 0)
		wantReport(t, d.output())
		if !strings.Contains(d.output(), "planned: 1 to add") { // later it is applied already
			t.Error("the report shows no plan that waits for approval")
		}
	})
	t.Run("operator killed", func(t *testing.T) {
		d := startDemo(t, dir, nil)
		d.awaitOutput(t, running)
		other := startDemo(t, dir, nil, "--once")
		<-other.ended
		wantRefusal(t, other, "in use by another control plane", dir, strconv.Itoa(d.command.Process.Pid))
		tryWhatIsPrinted(t, d.output())
		d.killOperator(t)
		d.wantEnd(t, long, 1)
		wantRefusal(t, d, "the operator ended", "signal: killed", filepath.Join(dir, "operator.log"))
	})
	t.Run("again", func(t *testing.T) {
		d := startDemo(t, dir, nil)
		d.awaitOutput(t, running)
		wantReport(t, d.output())
		d.interrupt(t)
		d.wantEnd(t, long, 0)
	})
}

// running is what the demo prints last before it waits.
const running = "Running until you press Ctrl-C."

// TestDemoInterrupted ends the demo while it starts in a new folder.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"started etcd", "started kube-apiserver", "control plane ready", "tenants: 21 objects Ready"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, filepath.Join(t.TempDir(), "demo"), nil)
			d.awaitOutput(t, moment)
			d.interrupt(t)
			d.wantEnd(t, long, 1)
			wantRefusal(t, d, "broletto: interrupted\n")
		})
	}
	t.Run("killed", func(t *testing.T) { // the operator finds out that it lost its lease, the others are told by the kernel
		t.Parallel()
		d := startDemo(t, filepath.Join(t.TempDir(), "demo"), nil)
		d.awaitOutput(t, "tenants: 21 objects Ready")
		if err := d.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, soon, "nothing of a killed demo lives on", func() error {
			if left := processesOf(t, d.dir); len(left) > 0 {
				return fmt.Errorf("there are\n  %s", strings.Join(left, "\n  "))
			}
			return nil
		})
		again := startDemo(t, d.dir, nil)
		again.awaitOutput(t, "tenants: 21 objects Ready")
		again.interrupt(t)
		again.wantEnd(t, long, 1)
	})
}

// TestDemoRefuses begins where the demo cannot go on: it must say why and what to do, at once.
func TestDemoRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for name, c := range map[string]struct {
		holds string // a file that is in the folder already
		env   []string
		args  []string
		want  []string
	}{
		"port taken":         {args: []string{"--port", port}, want: []string{"port " + port, "already in use", "choose another port"}},
		"no such port":       {args: []string{"--port", "99999"}, want: []string{"99999"}},
		"foreign files":      {holds: "tesi.odt", want: []string{"tesi.odt", "choose an empty or a new folder"}},
		"not our state":      {holds: "state.json", want: []string{"state.json", "remove the folder"}},
		"nothing built":      {env: []string{"PATH=" + t.TempDir(), "BROLETTO_CACHE=" + t.TempDir(), "KUBEBUILDER_ASSETS="}, want: []string{"the go command is not on PATH", "install Go"}},
		"unknown flag":       {args: []string{"--onec"}, want: []string{"unknown flag: --onec"}},
		"unknown argument":   {args: []string{"once"}, want: []string{`unknown command "once"`}},
		"cache is no folder": {env: []string{"BROLETTO_CACHE=/dev/null"}, want: []string{"/dev/null", "BROLETTO_CACHE"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.holds != "" {
				if err := os.WriteFile(filepath.Join(dir, c.holds), []byte("mio"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := startDemo(t, dir, c.env, append(c.args, "--once")...)
			d.wantEnd(t, soon, 1)
			wantRefusal(t, d, c.want...)
			if text, err := os.ReadFile(filepath.Join(dir, c.holds)); c.holds != "" && (err != nil || string(text) != "mio") {
				t.Errorf("the demo changed a file of somebody else: %q (%v)", text, err)
			}
		})
	}
}

// wantRefusal wants that a demo ended with status 1 and a last line or two that hold all these words.
func wantRefusal(t *testing.T, d *demo, words ...string) {
	t.Helper()
	if got := d.command.ProcessState.ExitCode(); got != 1 {
		t.Errorf("the demo ended with status %d, want 1", got)
	}
	text := d.output()
	at := strings.Index(text, "broletto: ")
	if at < 0 {
		t.Fatal("the demo does not say why it ended")
	}
	for _, word := range words {
		if !strings.Contains(text[at:], word) {
			t.Errorf("the demo says %q, want %q in it", text[at:], word)
		}
	}
	if lines := strings.Count(strings.TrimSpace(text[at:]), "\n"); lines > 3 {
		t.Errorf("the demo takes %d lines to say why it ended:\n%s", lines+1, text[at:])
	}
}

func (d *demo) interrupt(t *testing.T) {
	t.Helper()
	if err := d.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
}

// killOperator kills the operator that the demo started.
func (d *demo) killOperator(t *testing.T) {
	t.Helper()
	cluster.Eventually(t, soon, "the demo runs an operator", func() error {
		for _, process := range processesOf(t, d.dir) {
			pid, command, _ := strings.Cut(process, " ")
			if !strings.Contains(command, "broletto operator ") {
				continue
			}
			number, err := strconv.Atoi(pid)
			if err != nil {
				return err
			}
			return syscall.Kill(number, syscall.SIGKILL)
		}
		return fmt.Errorf("its processes are %v", processesOf(t, d.dir))
	})
}

// wantReport wants the tables of both consortia, of whom every tenant and workspace has a line with what it holds.
func wantReport(t *testing.T, text string) {
	t.Helper()
	for _, want := range []string{
		"ticino: Collaborazione intercomunale TIC (CH, CHF)", "varese: Comuni in cloud (IT, EUR)",
		"In 43 of 43 namespaces:", "What isolates lugano--sportello", "Try, as an administrator of lugano (anna in group lugano:ict):",
		"approved and applied", "planned and applied at once", "drifted: a plan finds 0 to add, 1 to change, 0 to destroy",
		"repaired: sportello: 8.00-17.00", "The catalogue", "albo-pretorio 1.0.0 is provisioned in malnate--sito", "lozza/protocollo",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	columns := regexp.MustCompile(`\s{2,}`)
	for line, want := range map[string][]string{
		"lugano":    {"lugano", "lugano", "Municipality", "22 of 48", "84Gi of 192Gi", "1120Gi of 4Ti"},
		"sportello": {"sportello", "lugano--sportello", "Production", "Critical", "8", "32Gi", "500Gi", "203.0.113.0/24, DNS, broletto-system, ingress-internet, lugano--identita"},
		"piambello": {"piambello", "piambello", "MountainCommunity", "0 of 4", "0 of 16Gi", "0 of 100Gi", "nothing"},
	} {
		found := slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool {
			got := columns.Split(strings.TrimSpace(l), -1)
			return len(got) >= len(want) && slices.Equal(got[:len(want)], want)
		})
		if !found {
			t.Errorf("no line of the report tells of %s: %q", line, want)
		}
	}
}

// tryWhatIsPrinted runs the commands that the report proposes: what a comment says must come out, and what has no comment must work.
func tryWhatIsPrinted(t *testing.T, text string) {
	t.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Log("no kubectl on PATH: what the demo proposes to try is not tried")
		return
	}
	_, text, found := strings.Cut(text, "Try, as an administrator")
	export := regexp.MustCompile(`(?m)^  (export KUBECONFIG=.*)$`).FindStringSubmatch(text)
	commands := regexp.MustCompile(`(?m)^  (kubectl .*?)(?:\s+# (.*))?$`).FindAllStringSubmatch(text, -1)
	if !found || export == nil || len(commands) < 7 {
		t.Fatalf("of what the demo proposes %d commands are found", len(commands))
	}
	for _, command := range commands {
		line, comment := command[1], command[2]
		out, err := exec.CommandContext(t.Context(), "bash", "-c", export[1]+"\n"+line).CombinedOutput()
		refused := comment == "no" || comment == "forbidden"
		if (err != nil) != refused || len(out) == 0 || !strings.Contains(strings.ToLower(string(out)), comment) {
			t.Errorf("%s  # %s\nprints (%v):\n%s", line, comment, err, out)
		}
	}
}
