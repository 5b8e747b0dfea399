//go:build linux

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// cgroupPrefix begins the name of every box's groups.
	cgroupPrefix = "broletto-"
)

// unified tells whether the machine has cgroups of version 2 alone.
func unified() bool {
	var fs unix.Statfs_t
	return unix.Statfs(cgroupRoot, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies are the roots below which a box has groups: one for each controller in version 1, one in all in version 2.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(cgroupRoot, e.Name(), "cgroup.procs")); err == nil && e.Type() != fs.ModeSymlink {
			roots = append(roots, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	if len(roots) == 0 {
		return nil, &Error{Object: cgroupRoot, Cause: errors.New("no control groups are mounted there"), WayOut: "mount them as your distribution does"}
	}
	return roots, nil
}

// makeCgroups makes the groups name/node in every hierarchy, with every controller usable below them.
func makeCgroups(name string, nodes []string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := delegate(root); err != nil {
			return err
		}
		for _, node := range nodes {
			dir := root
			for _, part := range []string{name, node} {
				dir = filepath.Join(dir, part)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fmt.Errorf("making a control group: %w", err)
				}
				if err := errors.Join(inherit(dir), delegate(dir)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inherit gives a new group of version 1 its parent's processors and memory nodes: it starts with none, and then nothing can run in it.
func inherit(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, os.ErrNotExist) || unified() {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return fmt.Errorf("setting %s of %s: %w", file, dir, err)
		}
	}
	return nil
}

// delegate makes the controllers of a group of version 2 usable below it.
func delegate(dir string) error {
	if !unified() {
		return nil
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var on []string
	for c := range strings.FieldsSeq(string(controllers)) {
		on = append(on, "+"+c)
	}
	err = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(strings.Join(on, " ")), 0o644)
	if errors.Is(err, unix.EBUSY) {
		return &Error{Object: "control group " + dir, Cause: err, WayOut: "processes live in it, as in a container: move them into a group below it first"}
	}
	return err
}

// removeCgroups removes the groups of that name and all below them, innermost first; processes that were killed may take a moment to go.
func removeCgroups(name string, patience time.Duration) error {
	if !strings.HasPrefix(name, cgroupPrefix) || strings.Contains(name, "/") {
		return fmt.Errorf("control group %q is not a box's: not removed", name) // empty, it would be everybody's
	}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	end := time.Now().Add(patience)
	for {
		var failed []error
		for _, root := range roots {
			failed = append(failed, removeTree(filepath.Join(root, name)))
		}
		err := errors.Join(failed...)
		if err == nil || time.Now().After(end) {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

// removeTree removes a tree of groups. Their files are the kernel's and go with them.
func removeTree(dir string) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			groups = append(groups, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	slices.Reverse(groups)
	for _, g := range groups {
		if rmErr := unix.Rmdir(g); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("removing control group %s: %w", g, rmErr))
		}
	}
	return err
}
