//go:build linux

// Command node starts, ends and changes a cluster with two nodes on this machine; see package node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/broletto/broletto/hack/node"
	"github.com/broletto/broletto/hack/node/csi"
	"github.com/broletto/broletto/hack/node/policy"
)

const usage = `usage: node VERB [flags]
  up          build and start; prints the path of the admin's kubeconfig
  down        end, and leave nothing behind
  kubeconfig  print one of a user: --user anna --group chiasso:ict
  stop, start, restart UNIT
              processes in it, such as kubelet-node-2 or "*-node-2"; restart control: the control plane
  cut NODE, join NODE
              pull the cable of node-2, and put it in again
  load FILE   load an archive of images on every node
  open        stop enforcing network policies
All take --dir, the folder of the cluster.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// verb is what the arguments say.
type verb struct {
	node.Options
	user                                    string
	groups                                  list
	kubeconfig, node, kubelet, root, socket string
	rest                                    []string
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

var verbs = map[string]func(context.Context, verb) error{
	"up":         up,
	"down":       func(ctx context.Context, v verb) error { return node.Down(ctx, v.Dir, node.RemoveFolder) },
	"kubeconfig": kubeconfig,
	"stop":       order("stop"),
	"start":      order("start"),
	"restart":    order("restart"),
	"load":       order("load"),
	"open":       order("open"),
	"cut":        order("cut"),
	"join":       order("join"),

	// What processes in the box run.
	"hold":    func(context.Context, verb) error { return node.Hold() },
	"run":     func(context.Context, verb) error { return node.Run() },
	"enforce": enforce,
	"csi":     serveVolumes,
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || verbs[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("which verb?")
	}
	v := verb{Options: node.Options{Progress: os.Stderr}}
	flags := flag.NewFlagSet("node "+args[0], flag.ContinueOnError)
	flags.StringVar(&v.Dir, "dir", defaultDir(), "folder of the cluster, on a disk")
	flags.StringVar(&v.Source, "source", "../..", "root of the repository")
	flags.IntVar(&v.Port, "port", 0, "up: port of the API server on 127.0.0.1; 0: any free one")
	flags.StringVar(&v.user, "user", "", "kubeconfig: name of the user")
	flags.Var(&v.groups, "group", "kubeconfig: a group of the user; may be given several times")
	flags.StringVar(&v.kubeconfig, "kubeconfig", "", "enforce, csi: how to reach the API server")
	flags.StringVar(&v.node, "node", "", "enforce, csi: name of the node; csi without one is the controller")
	flags.StringVar(&v.kubelet, "kubelet", "", "csi: root folder of the kubelet")
	flags.StringVar(&v.root, "root", "", "csi: folder of the volumes")
	flags.StringVar(&v.socket, "socket", "", "csi: where the controller listens")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	v.rest = flags.Args()
	return verbs[args[0]](ctx, v)
}

func defaultDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "broletto", "node")
}

// up starts a cluster, unless it runs already, and says how to use it.
func up(ctx context.Context, v verb) (err error) {
	if v.Source, err = filepath.Abs(v.Source); err != nil {
		return err
	}
	if err := node.Up(ctx, v.Options); err != nil && !errors.Is(err, node.ErrRunning) {
		return err
	}
	path := node.KubeconfigPath(v.Dir)
	shell, err := node.Shell(v.Dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nTwo nodes run. Use them, from anywhere on this machine:\n  export KUBECONFIG=%s\nA shell inside, where pods and nodes can be reached by their addresses:\n  %s\nEnd them:\n  make node-down\n\n", short(path), shell)
	fmt.Println(path)
	return nil
}

// short names the home folder as shells do.
func short(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	if below, ok := strings.CutPrefix(path, home+string(filepath.Separator)); ok {
		return "~/" + below
	}
	return path
}

func kubeconfig(_ context.Context, v verb) error {
	text, err := node.Kubeconfig(v.Dir, v.user, v.groups...)
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}

// order hands a verb on to the cluster.
func order(name string) func(context.Context, verb) error {
	return func(ctx context.Context, v verb) (err error) {
		argument := strings.Join(v.rest, " ")
		if name == "load" {
			if argument, err = filepath.Abs(argument); err != nil {
				return err
			}
		}
		return node.Order(ctx, v.Dir, name, argument)
	}
}

func enforce(ctx context.Context, v verb) error {
	config, err := clientcmd.BuildConfigFromFlags("", v.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	return policy.Run(ctx, config, v.node, func() { fmt.Println("enforcing") })
}

func serveVolumes(ctx context.Context, v verb) error {
	if v.node != "" {
		return csi.Node{Name: v.node, Root: v.root, Kubelet: v.kubelet}.Serve(ctx)
	}
	config, err := clientcmd.BuildConfigFromFlags("", v.kubeconfig)
	if err != nil {
		return err
	}
	return csi.Controller{Root: v.root, Socket: v.socket, Cluster: config}.Serve(ctx)
}
