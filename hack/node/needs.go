//go:build linux

package node

import (
	"errors"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// packages are the programs that a box runs and that no Go module has, with the Debian package of each.
var packages = map[string]string{
	"nft":        "nftables",
	"conntrack":  "conntrack",
	"busybox":    "busybox-static",
	"pkg-config": "pkg-config",
	"nsenter":    "util-linux",
	"cc":         "gcc",
}

// kernelFiles tell that the kernel has what a box needs, and what that is.
var kernelFiles = map[string]string{
	"/proc/self/ns/pid": "process namespaces (CONFIG_PID_NS)",
	"/proc/self/ns/net": "network namespaces (CONFIG_NET_NS)",
	"/dev/kmsg":         "the device /dev/kmsg, which kubelets read",
	"/sys/fs/cgroup":    "control groups",
}

// Missing is all that a box needs and this machine does not have, each as an error that says how to get it; nil when nothing is.
func Missing(dir string) error {
	var missing []error
	if os.Geteuid() != 0 {
		missing = append(missing, &Error{Object: "user", Cause: errors.New("not root"), WayOut: "namespaces, mounts and cgroups need it: use sudo, or a virtual machine"})
	}
	for _, program := range sortedKeys(packages) {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, &Error{Object: "program " + program, Cause: exec.ErrNotFound, WayOut: "run hack/packages, or install Debian's " + packages[program]})
		}
	}
	if err := exec.Command("pkg-config", "--exists", "libseccomp").Run(); err != nil {
		missing = append(missing, &Error{Object: "headers of libseccomp", Cause: err, WayOut: "run hack/packages, or install Debian's libseccomp-dev"})
	}
	for _, file := range sortedKeys(kernelFiles) {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, &Error{Object: kernelFiles[file], Cause: err, WayOut: "use a kernel or a machine that has it"})
		}
	}
	if systems, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(systems), "\toverlay\n") {
		missing = append(missing, &Error{Object: "file system overlay", Cause: errors.New("the kernel does not have it"), WayOut: "run modprobe overlay"})
	}
	return errors.Join(append(missing, unsuitable(dir))...)
}

// unsuitable refuses folders that cannot hold a box: containers' layers cannot lie on overlays, and what the box hides it could not read.
func unsuitable(dir string) error {
	for _, hidden := range hiddenFolders {
		if dir == hidden || strings.HasPrefix(dir, hidden+"/") {
			return &Error{Object: "folder " + dir, Cause: errors.New("a box has a " + hidden + " of its own"), WayOut: "choose one elsewhere with --dir"}
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return &Error{Object: "folder " + dir, Cause: errors.New("it is on an overlay, as a container's own files are"), WayOut: "choose one on a disk, a volume or a tmpfs with --dir"}
	}
	return nil
}
