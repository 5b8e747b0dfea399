//go:build linux

package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// kubeletSysctls are the settings of the whole machine that a kubelet makes when it starts; they belong to no namespace.
var kubeletSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

func readSysctls() map[string]string {
	values := map[string]string{}
	for _, name := range kubeletSysctls {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil { // not every kernel has them all
			values[name] = strings.TrimSpace(string(value))
		}
	}
	return values
}

// restoreSysctls writes what differs from the values.
func restoreSysctls(values map[string]string) error {
	var failed []error
	for name, now := range readSysctls() {
		if was, known := values[name]; known && was != now {
			failed = append(failed, os.WriteFile(filepath.Join("/proc/sys", name), []byte(was), 0o644))
		}
	}
	return errors.Join(failed...)
}
