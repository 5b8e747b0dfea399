//go:build linux

package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/hack/kube"
)

// Nodes are the names of the nodes that a box has.
var Nodes = []string{"node-1", "node-2"}

// upPatience bounds the start of a box, when everything is built: seconds on an idle machine.
const upPatience = 3 * time.Minute

// Options say where and how to run a box.
type Options struct {
	// Dir is the folder of the box: on a disk, empty or not there yet.
	Dir string
	// Source is the root of the repository, for the programs of ours that run in the box.
	Source string
	// Port is the API server's on 127.0.0.1; 0 means any that is free.
	Port int
	// Progress gets a line per step.
	Progress io.Writer
}

// Up builds what is not yet built, starts a box, and returns when two nodes are ready and pods can run, have addresses, names and volumes.
// It leaves an admin's kubeconfig at [KubeconfigPath].
func Up(ctx context.Context, o Options) (err error) {
	p := &progress{w: o.Progress, begun: time.Now()}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	if err := Missing(o.Dir); err != nil {
		return err
	}
	held, err := holdDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // the box has a descriptor of its own
	b, err := build(ctx, o, p)
	if err != nil {
		return err
	}
	if err := start(ctx, o, b, held, p); err != nil {
		return errors.Join(err, Down(context.WithoutCancel(ctx), o.Dir, KeepFolder))
	}
	return nil
}

// lockName is the file that a box holds locked.
const lockName = "lock"

// holdDir locks the folder of a box for as long as anything of the box lives.
func holdDir(dir string) (*os.File, error) {
	held, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = held.Close()
		return nil, &Error{Object: "folder " + dir, Cause: ErrRunning, WayOut: "end it with `make node-down`, or choose another folder with --dir"}
	}
	if s, err := readState(dir); err == nil { // a box that was killed from outside
		if err := clean(dir, s); err != nil {
			return nil, errors.Join(err, held.Close())
		}
	}
	return held, nil
}

// setting is what the process in the box is told.
type setting struct {
	Dir, Bin, ControlBin string
	Cgroups              string
	Images               string   // archive
	Kinds                []string // files
}

// start makes the box around a first process and waits until that says that all is ready.
func start(ctx context.Context, o Options, b built, held *os.File, p *progress) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		return &Error{Object: fmt.Sprintf("port %d on 127.0.0.1", o.Port), Cause: err, WayOut: "choose another with --port"}
	}
	defer func() { _ = listener.Close() }()
	s := state{Port: listener.Addr().(*net.TCPAddr).Port, Cgroups: fmt.Sprintf("%s%d", cgroupPrefix, os.Getpid()), Sysctls: readSysctls()}
	if err := errors.Join(s.write(o.Dir), makeCgroups(s.Cgroups, Nodes)); err != nil {
		return err
	}
	config, err := json.Marshal(setting{Dir: o.Dir, Bin: b.bin, ControlBin: b.control, Cgroups: s.Cgroups, Images: b.images, Kinds: b.kinds})
	if err != nil {
		return err
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	cmd, err := firstProcess(o, config, held, socket, writer)
	if err != nil {
		return err
	}
	err = cmd.Start()
	_ = writer.Close()
	if err != nil {
		return &Error{Object: "the box", Cause: err, WayOut: "new namespaces need a machine, or a container, with CAP_SYS_ADMIN"}
	}
	s.PID = cmd.Process.Pid
	if s.Started, _, err = startOf(s.PID); err != nil {
		return err
	}
	for _, kind := range []string{"pid", "mnt", "net"} {
		namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", s.PID, kind))
		if err != nil {
			return err
		}
		s.Namespaces = append(s.Namespaces, namespace)
	}
	if err := s.write(o.Dir); err != nil {
		return err
	}
	if err := awaitReady(ctx, o.Dir, reader, p); err != nil {
		return err
	}
	admin, err := Kubeconfig(o.Dir, kube.AdminUser, kube.AdminGroup)
	if err != nil {
		return err
	}
	return os.WriteFile(KubeconfigPath(o.Dir), admin, 0o600)
}

// firstProcess is the one that holds the box, in namespaces of its own.
func firstProcess(o Options, config []byte, files ...*os.File) (*exec.Cmd, error) {
	if err := os.MkdirAll(filepath.Join(o.Dir, "log"), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(o.Dir, "log", "box.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(o.Dir, "bin", "node"), "hold")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + o.Dir, settingVariable + "=" + string(config)}
	cmd.Dir = o.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
	}
	return cmd, nil
}

// readyLine is the last thing that the process in the box says.
const readyLine = "ready"

// awaitReady passes on what the process in the box says until it is ready.
func awaitReady(ctx context.Context, dir string, said io.ReadCloser, p *progress) error {
	ctx, cancel := context.WithTimeout(ctx, upPatience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = said.Close() })()
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if lines.Text() == readyLine {
			return nil
		}
		p.say("%s", lines.Text())
	}
	if ctx.Err() != nil {
		return &Error{Object: "the box", Cause: ctx.Err(), WayOut: "look into " + filepath.Join(dir, "log")}
	}
	return &Error{Object: "the box", Cause: errors.New("its first process ended"), WayOut: "its log ends with:\n" + tail(filepath.Join(dir, "log", "box.log"))}
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// sortedKeys are the keys of a map, in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// progress tells a person what we are doing.
type progress struct {
	w     io.Writer
	begun time.Time
}

func (p *progress) say(format string, args ...any) {
	if p.w != nil {
		fmt.Fprintf(p.w, "%6.1fs  %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
	}
}

// KubeconfigPath is the admin's kubeconfig of a box, for use outside it.
func KubeconfigPath(dir string) string { return filepath.Join(dir, "admin.kubeconfig") }

// Kubeconfig is one of any user in groups, for use outside the box.
func Kubeconfig(dir, user string, groups ...string) ([]byte, error) {
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	plane, err := kube.Attach(filepath.Join(dir, "control"), fmt.Sprintf("https://127.0.0.1:%d", s.Port))
	if err != nil {
		return nil, err
	}
	return plane.Kubeconfig(user, groups...)
}

// Shell is the command that opens a shell inside a box.
func Shell(dir string) (string, error) {
	s, err := readState(dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("nsenter -t %d -m -n -p -u -i bash", s.PID), nil
}
