package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Possible says whether this system has namespaces; only root may make them here.
const Possible = true

// warder is the name under which this program, started by itself, locks itself up and becomes the runner.
const warder = "broletto-local-node-jail"

// namespaces are those that a jail has of its own.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// init is where the warder branches off: whatever program links this package, its main never runs then, nor does what other packages begin with.
func init() {
	if len(os.Args) == 1 && os.Args[0] == warder {
		runtime.LockOSThread()
		err := enter()
		fmt.Fprintln(os.Stderr, "local node: locking the runner up:", err)
		os.Exit(125)
	}
}

// Lock has cmd start in a jail. What it returns is called when the process has ended.
func Lock(cmd *exec.Cmd, j Jail) (release func(), err error) {
	order, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(order); err != nil { // far less than a pipe holds
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	cmd.Path, cmd.Args, cmd.Dir = "/proc/self/exe", []string{warder}, "/"
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr.Cloneflags = namespaces
	// The writing end stays open as long as we live, by which the warder knows that we do.
	return func() { _ = r.Close(); _ = w.Close() }, nil
}

// Try tries an empty jail out: root is not allowed everything everywhere.
func Try() error {
	if os.Getuid() != 0 {
		return nil
	}
	cmd := &exec.Cmd{Env: []string{}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	release, err := Lock(cmd, Jail{})
	if err != nil {
		return err
	}
	defer release()
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("this machine lets root make no namespaces, and stacks do not run as root: %w: %s; run it as another user", err, text)
	}
	return nil
}

// enter is the warder: it makes the jail around itself and becomes the runner. It returns only when that fails.
func enter() error {
	pipe := os.NewFile(3, "order")
	var j Jail
	if err := json.NewDecoder(pipe).Decode(&j); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if j.Root == "" {
		os.Exit(0) // it was only tried out
	}
	if err := furnish(j); err != nil {
		return err
	}
	if err := moveIn(j.Root); err != nil {
		return err
	}
	if err := os.Chdir(j.Work); err != nil {
		return err
	}
	if err := renounce(j.ID); err != nil {
		return err
	}
	if err := orphaned(); err != nil {
		return err
	}
	return fmt.Errorf("becoming the runner: %w", syscall.Exec(j.Runner, []string{j.Runner}, os.Environ()))
}

// shown is what every jail has of this machine, if it is there: for programs that are not linked statically, names and certificates.
var shown = []string{
	"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/ca-certificates",
	"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
}

// furnish makes the jail's root and mounts all that is in it.
func furnish(j Jail) error {
	if err := syscall.Mount("tmpfs", j.Root, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mounting a root: %w", err)
	}
	for _, path := range shown {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := show(j.Root, Mount{Source: path, Target: path}, filepath.Dir(path) == "/dev"); err != nil {
			return err
		}
	}
	for _, m := range j.Mounts {
		mounted := func() error { return show(j.Root, m, false) }
		if m.Memory > 0 {
			mounted = func() error { return remember(j, m) }
		}
		if err := mounted(); err != nil {
			return err
		}
	}
	proc := filepath.Join(j.Root, "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("proc", proc, "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

// show mounts a file or folder of this machine in the jail.
func show(root string, m Mount, device bool) error {
	target := filepath.Join(root, m.Target)
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	folder := target
	if !info.IsDir() {
		folder = filepath.Dir(target)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if !info.IsDir() {
		f, err := os.OpenFile(target, os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		_ = f.Close() // nothing was written
	}
	if err := syscall.Mount(m.Source, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Target, err)
	}
	if device {
		return nil
	}
	flags := uintptr(syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_NOSUID | syscall.MS_NODEV)
	if !m.Write {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Target, err)
	}
	return nil
}

// remember mounts memory that the jail's user may write to.
func remember(j Jail, m Mount) error {
	target := filepath.Join(j.Root, m.Target)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=0700,size=%d,uid=%d,gid=%d", m.Memory, j.ID, j.ID)
	if err := syscall.Mount("tmpfs", target, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Target, err)
	}
	return nil
}

// moveIn makes the jail's root the root, and lets go of the machine's.
func moveIn(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := syscall.PivotRoot(".", "."); err != nil { // the old one then lies on top of the new
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("letting the old root go: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV, ""); err != nil {
		return fmt.Errorf("making the root read-only: %w", err)
	}
	return syscall.Sethostname([]byte("runner"))
}

// Numbers of Linux that package syscall does not name; the same on every architecture.
const (
	rlimitProcesses = 6  // RLIMIT_NPROC
	setNoNewPrivs   = 38 // PR_SET_NO_NEW_PRIVS
)

// renounce sets limits, becomes a user that nobody else is, and gives up every way to more rights.
func renounce(id int) error {
	for which, limit := range map[int]uint64{
		syscall.RLIMIT_CORE: 0, syscall.RLIMIT_NOFILE: 4096, syscall.RLIMIT_FSIZE: 2 << 30, rlimitProcesses: 2048,
	} {
		if err := syscall.Setrlimit(which, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("setting limit %d: %w", which, err)
		}
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)); err != nil {
		return fmt.Errorf("becoming user %d: %w", id, err)
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("giving up new rights: %w", errno)
	}
	return nil
}

// orphaned has the kernel kill us when the local node dies, which becoming another user had undone, and finds out whether it died meanwhile.
func orphaned() error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0, 0); errno != 0 {
		return errno
	}
	if err := syscall.SetNonblock(3, true); err != nil {
		return err
	}
	if _, err := syscall.Read(3, make([]byte, 1)); !errors.Is(err, syscall.EAGAIN) {
		return errors.New("the local node is gone")
	}
	return syscall.Close(3)
}
