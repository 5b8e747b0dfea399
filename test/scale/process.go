package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one run of the operator, a process of its own as in a cluster.
type process struct {
	command *exec.Cmd
	begun   time.Time
	ended   chan struct{}
	err     error
	log     string
	metrics string // URL
}

// buildOperator builds the binary as a release does.
func buildOperator(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "broletto")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary,
		"github.com/broletto/broletto/operator/cmd/broletto")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return binary, nil
}

func startProcess(binary, kubeconfig string, env []string) (*process, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(binary+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	p := &process{ended: make(chan struct{}), log: log.Name(), metrics: "https://" + metrics + "/metrics"}
	p.command = exec.Command(binary, "operator", "--metrics-bind-address="+metrics, "--health-probe-bind-address=0", "--broker-bind-address=127.0.0.1:0", "--broker-url=")
	p.command.Env = append(append(os.Environ(), env...), "KUBECONFIG="+kubeconfig)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we stop it in order
	p.begun = time.Now()
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// freeAddress finds a port for the metrics, whose address the operator does not tell.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// guard returns a context that ends with the operator, which should live longer.
func (p *process) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("the operator ended: %w\n%s", p.err, p.tail()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// stop asks the operator to end, and makes it end when it does not.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
		return errors.New("the operator did not stop within 30 s of SIGTERM")
	}
	if p.err != nil {
		return fmt.Errorf("stopping the operator: %w\n%s", p.err, p.tail())
	}
	return nil
}

// tail is the end of the operator's log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// memory is the largest resident size that the operator ever had, and that which it has now, in bytes; 0 where the system has no /proc.
func (p *process) memory() (peak, now int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64) // a field that is no number is none of the two
		switch fields[0] {
		case "VmHWM:":
			peak = kib << 10
		case "VmRSS:":
			now = kib << 10
		}
	}
	return peak, now
}

// samples reads the operator's metrics: the sum of each series by its name and, where it has one, its controller.
func (p *process) samples(ctx context.Context, token string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metrics, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // self-signed, on loopback
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", response.Status, text)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	return parseSamples(string(text)), nil
}

func parseSamples(text string) map[string]float64 {
	sums := map[string]float64{}
	for line := range strings.Lines(text) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), "} ")
		name, labels, labelled := strings.Cut(series, "{")
		value, err := strconv.ParseFloat(number, 64)
		if !labelled || err != nil {
			continue
		}
		if _, rest, found := strings.Cut(labels, `controller="`); found {
			controller, _, _ := strings.Cut(rest, `"`)
			name += "/" + controller
		}
		sums[name] += value
	}
	return sums
}
