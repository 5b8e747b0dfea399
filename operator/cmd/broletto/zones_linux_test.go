package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestZonesWithoutZoneinfo loads a zone where the image does: in a root that has nothing. The test runs itself again to lock itself in.
func TestZonesWithoutZoneinfo(t *testing.T) {
	if dir := os.Getenv("BROLETTO_TEST_ROOT"); dir != "" {
		if err := syscall.Chroot(dir); err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocation("Europe/Rome")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).In(zone).Format(time.RFC3339))
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestZonesWithoutZoneinfo$", "-test.v")
	cmd.Env = []string{"BROLETTO_TEST_ROOT=" + t.TempDir()}
	if os.Getuid() != 0 { // root in a user namespace may change its root, too
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	if ended := new(exec.ExitError); err != nil && !errors.As(err, &ended) {
		t.Skipf("this machine lets nobody but root change the root: %v", err)
	}
	if want := "2026-07-01T14:00:00+02:00\n"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("a zone without zoneinfo: %v\n%s\nwant the line %s", err, out, want)
	}
}
