package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

var update = flag.Bool("update", false, "write testdata/ and the tables of docs/ anew")

const (
	repository = "../.."
	// existing names the environment variable with the folder of a cluster that runs and is to be kept.
	existing = "BROLETTO_BOX"
	// building bounds the time to a usable cluster. The first start on a machine compiles Kubernetes, which takes minutes.
	building = 50 * time.Minute
)

// the is the cluster that all tests of the package use, one after the other. TestClusterGone, the last one, ends it, and leaves another.
var the *box

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard()) // what connections to pods that go away say
	flag.Parse()
	if reason := unsuitable(); reason != nil && os.Getenv("CI") == "" {
		fmt.Printf("test/node: skipped: %v\n", reason)
		return
	}
	os.Exit(run(m))
}

// unsuitable says why this machine cannot run nodes. Under continuous integration it must.
func unsuitable() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("nodes need Linux and root")
	}
	return nil
}

func run(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), building)
	defer cancel()
	var err error
	if the, err = up(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "test/node: no cluster to test on:", err)
		return 1
	}
	defer func() {
		if err := the.down(); err != nil {
			fmt.Fprintln(os.Stderr, "test/node: ending the cluster:", err)
			code = 1
		}
		fmt.Print(times.String())
	}()
	if err := the.install(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "test/node: installing Broletto:", err)
		return 1
	}
	defer times.measure("tests")()
	return m.Run()
}

// clock says at the end what took how long.
type clock struct {
	sync.Mutex
	lines []string
}

var times clock

// measure begins a stretch of time that ends when its result is called.
func (c *clock) measure(what string) (end func()) {
	begun := time.Now()
	return func() {
		c.Lock()
		defer c.Unlock()
		c.lines = append(c.lines, fmt.Sprintf("%6.1fs  %s", time.Since(begun).Seconds(), what))
	}
}

func (c *clock) String() string {
	c.Lock()
	defer c.Unlock()
	return strings.Join(append(slices.Clone(c.lines), ""), "\n")
}

// scratch is a folder on a disk, which containers' layers need: temporary folders often are none.
func scratch() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, "broletto")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "e2e-")
}
