//go:build linux

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// settingVariable hands the setting to the processes in the box.
const settingVariable = "BROLETTO_BOX"

// Descriptors that the processes in the box inherit, beside the first three.
const (
	lockDescriptor = 3 + iota
	listenerDescriptor
	progressDescriptor
)

// hiddenFolders are the ones that a box has of its own, empty at first: programs write there under names that no flag changes.
var hiddenFolders = []string{"/run", "/var/lib", "/var/log"}

// Hold is the first process of a box: it makes the mounts, starts the process that does everything else, and waits for all that end in the
// box. When it ends, the kernel ends the box.
func Hold() error {
	if err := mounts(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("broletto-box")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "run")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	for d := lockDescriptor; d <= progressDescriptor; d++ {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(d), "inherited"))
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, f := range cmd.ExtraFiles[1:] { // the lock stays with us
		_ = f.Close()
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for what ends in the box: %w", err)
		case pid == cmd.Process.Pid:
			return fmt.Errorf("the box's main process ended with status %d", status.ExitStatus())
		}
	}
}

// mounts gives the box a view of its own: its processes, and folders that programs insist on.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detaching from the machine's mounts: %w", err)
	}
	// Volumes that a kubelet mounts are to be seen by containerd and its containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing mounts within the box: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, folder := range hiddenFolders {
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting %s: %w", folder, err)
		}
	}
	return nil
}

// Run is the main process of a box.
func Run() error {
	var s setting
	if err := json.Unmarshal([]byte(os.Getenv(settingVariable)), &s); err != nil {
		return fmt.Errorf("reading %s: %w", settingVariable, err)
	}
	listener, err := net.FileListener(os.NewFile(listenerDescriptor, "listener"))
	if err != nil {
		return fmt.Errorf("taking over the listener: %w", err)
	}
	said := os.NewFile(progressDescriptor, "progress")
	b := &box{setting: s, say: func(format string, args ...any) { fmt.Fprintf(said, format+"\n", args...) }}
	go forward(listener, controlAddress+":6443")
	if err := b.start(); err != nil {
		return err
	}
	if err := serveControl(filepath.Join(s.Dir, controlSocket), b); err != nil {
		return err
	}
	b.say(readyLine)
	_ = said.Close()
	select {}
}

// environment is what programs in the box get: ours without the setting.
func environment(bin ...string) []string {
	path := "PATH=" + strings.Join(append(bin, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ":")
	return []string{path, "HOME=/run"}
}
