package stacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/broletto/broletto/operator/manager"
)

// operatorRole is the variable by which this program is the operator; it holds its settings as JSON.
const operatorRole = "BROLETTO_TEST_OPERATOR"

// settings are those of an operator in a process of its own.
type settings struct {
	Kubeconfig, Broker, BrokerURL, Metrics string
	Clock                                  string // path of a file with the time by which its clock is ahead
}

// operate is the operator, until what started it ends.
func operate(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	log.SetLogger(zap.New())
	cfg, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	now := func() time.Time {
		text, _ := os.ReadFile(s.Clock) // absent at first
		ahead, _ := time.ParseDuration(string(text))
		return time.Now().Add(ahead)
	}
	mgr, err := manager.New(cfg, manager.Options{
		MetricsAddress: s.Metrics, ProbeAddress: "0", BrokerAddress: s.Broker, BrokerURL: s.BrokerURL,
		RunnerImage: "registry.example/broletto-runner:test", Now: now,
		StateStore: os.Getenv(storeVariable), StateStoreCredentials: os.Getenv(credentialsVariable),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process that started us
		cancel()
	}()
	return mgr.Start(ctx)
}

// operator is a process that is started anew whenever it has ended, as a kubelet does.
type operator struct {
	settings settings
	log      lockedBuffer

	lock    sync.Mutex
	process *os.Process   // nil: none runs
	wanted  chan struct{} // closed while one is wanted
}

// newOperator starts one.
func newOperator(s settings) *operator {
	o := &operator{settings: s, wanted: make(chan struct{})}
	o.resume()
	go o.keep()
	return o
}

func (o *operator) keep() {
	text, err := json.Marshal(o.settings)
	self, unknown := os.Executable()
	if err = errors.Join(err, unknown); err != nil {
		panic(err)
	}
	for {
		o.lock.Lock()
		wanted := o.wanted
		o.lock.Unlock()
		<-wanted
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), operatorRole+"="+string(text))
		cmd.Stdout, cmd.Stderr = &o.log, &o.log
		hold, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			panic(err)
		}
		o.lock.Lock()
		o.process = cmd.Process
		o.lock.Unlock()
		err = cmd.Wait()
		fmt.Fprintln(&o.log, "the operator's process has ended:", err)
		_ = hold.Close()
		o.lock.Lock()
		o.process = nil
		o.lock.Unlock()
	}
}

// kill kills it by SIGKILL; another one follows at once.
func (o *operator) kill() { o.signal(syscall.SIGKILL) }

// halt kills it, and none follows until resume.
func (o *operator) halt() {
	o.lock.Lock()
	o.wanted = make(chan struct{})
	o.lock.Unlock()
	o.kill()
}

// resume lets one follow again after a halt.
func (o *operator) resume() {
	o.lock.Lock()
	defer o.lock.Unlock()
	close(o.wanted)
}

func (o *operator) signal(s syscall.Signal) {
	o.lock.Lock()
	defer o.lock.Unlock()
	if o.process != nil {
		_ = o.process.Signal(s) // it may be dead already
	}
}
