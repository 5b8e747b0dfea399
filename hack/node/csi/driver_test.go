//go:build linux

package csi

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// requireMounts skips where nothing can be mounted; where CI runs, that is a failure.
func requireMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount(dir, dir, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Unmount(dir, 0)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("bind mounts: %v; run as root with CAP_SYS_ADMIN", err)
	default:
		t.Skipf("bind mounts: %v; run as root with CAP_SYS_ADMIN", err)
	}
}

var mount = &spec.VolumeCapability{AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}}}

func create(t *testing.T, c *controller, r *spec.CreateVolumeRequest) *spec.Volume {
	t.Helper()
	r.VolumeCapabilities = []*spec.VolumeCapability{mount}
	out, err := c.CreateVolume(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return out.GetVolume()
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNoWayOut names things outside of the root in every call that takes a name, and looks whether what is there was touched.
func TestNoWayOut(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	victim := filepath.Join(outside, "victim")
	if err := errors.Join(os.MkdirAll(filepath.Join(victim, "data"), 0o755), os.MkdirAll(filepath.Join(root, "volumes"), 0o755)); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(victim, "record.json"), "{}")
	put(t, filepath.Join(victim, "data", "secret"), "secret")
	c, n := &controller{store: newStore(root)}, &node{store: newStore(root)}
	capabilities := []*spec.VolumeCapability{mount}
	calls := map[string]struct {
		call func(ctx context.Context, id string) error
		want codes.Code
	}{
		"create": {func(ctx context.Context, id string) error {
			_, err := c.CreateVolume(ctx, &spec.CreateVolumeRequest{Name: id, VolumeCapabilities: capabilities})
			return err
		}, codes.InvalidArgument},
		"restore": {func(ctx context.Context, id string) error {
			_, err := c.CreateVolume(ctx, &spec.CreateVolumeRequest{Name: "v", VolumeCapabilities: capabilities, VolumeContentSource: fromSnapshot(id)})
			return err
		}, codes.NotFound},
		"snapshot": {func(ctx context.Context, id string) error {
			_, err := c.CreateSnapshot(ctx, &spec.CreateSnapshotRequest{Name: "s", SourceVolumeId: id})
			return err
		}, codes.NotFound},
		"delete": {func(ctx context.Context, id string) error {
			_, err := c.DeleteVolume(ctx, &spec.DeleteVolumeRequest{VolumeId: id})
			return err
		}, codes.OK},
		"delete snapshot": {func(ctx context.Context, id string) error {
			_, err := c.DeleteSnapshot(ctx, &spec.DeleteSnapshotRequest{SnapshotId: id})
			return err
		}, codes.OK},
		"expand": {func(ctx context.Context, id string) error {
			_, err := c.ControllerExpandVolume(ctx, &spec.ControllerExpandVolumeRequest{
				VolumeId: id, CapacityRange: &spec.CapacityRange{RequiredBytes: 1},
			})
			return err
		}, codes.NotFound},
		"publish": {func(ctx context.Context, id string) error {
			_, err := n.NodePublishVolume(ctx, &spec.NodePublishVolumeRequest{
				VolumeId: id, TargetPath: filepath.Join(outside, "target"), VolumeCapability: mount,
			})
			return err
		}, codes.NotFound},
	}
	for name, call := range calls {
		for _, id := range []string{"../../victim", "..", ".", ".v", "a/../../../victim", victim, "a\x00b", "-v", strings.Repeat("a", 129)} {
			if err := call.call(t.Context(), id); status.Code(err) != call.want {
				t.Errorf("%s of %q: got %v, want %s", name, id, err, call.want)
			}
		}
	}
	if got := read(t, filepath.Join(victim, "data", "secret")); got != "secret" {
		t.Errorf("the file outside holds %q", got)
	}
	if _, err := os.Stat(filepath.Join(outside, "target")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused volume has a target: %v", err)
	}
}

func fromSnapshot(id string) *spec.VolumeContentSource {
	return &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Snapshot{Snapshot: &spec.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

// TestRestore proves that a restored volume holds what was there at the snapshot, and that the three folders are three.
func TestRestore(t *testing.T) {
	c := &controller{store: newStore(t.TempDir())}
	at := func(r ref, name string) string { return filepath.Join(c.store.data(r), name) }
	original, restored := ref{volumes, "original"}, ref{volumes, "restored"}
	create(t, c, &spec.CreateVolumeRequest{Name: "original", CapacityRange: &spec.CapacityRange{RequiredBytes: 2 << 30}})
	put(t, at(original, "file"), "before")
	s, err := c.CreateSnapshot(t.Context(), &spec.CreateSnapshotRequest{Name: "s", SourceVolumeId: "original"})
	if err != nil || s.GetSnapshot().GetSizeBytes() != 2<<30 || !s.GetSnapshot().GetReadyToUse() {
		t.Fatalf("got %v, %v", s, err)
	}
	put(t, at(original, "file"), "after")
	put(t, at(original, "later"), "after")
	again, err := c.CreateSnapshot(t.Context(), &spec.CreateSnapshotRequest{Name: "s", SourceVolumeId: "original"})
	if err != nil || !again.GetSnapshot().GetCreationTime().AsTime().Equal(s.GetSnapshot().GetCreationTime().AsTime()) {
		t.Errorf("a second call took another snapshot: %v, %v", again, err)
	}
	small := &spec.CreateVolumeRequest{
		Name: "restored", VolumeContentSource: fromSnapshot("s"), VolumeCapabilities: []*spec.VolumeCapability{mount},
		CapacityRange: &spec.CapacityRange{RequiredBytes: 1 << 30},
	}
	if _, err := c.CreateVolume(t.Context(), small); status.Code(err) != codes.OutOfRange {
		t.Errorf("restored into half the size: %v", err)
	}
	if v := create(t, c, &spec.CreateVolumeRequest{Name: "restored", VolumeContentSource: fromSnapshot("s")}); v.GetCapacityBytes() != 2<<30 {
		t.Errorf("got %d bytes, want the snapshot's", v.GetCapacityBytes())
	}
	if _, err := c.DeleteVolume(t.Context(), &spec.DeleteVolumeRequest{VolumeId: "original"}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, at(restored, "file")); got != "before" {
		t.Errorf("restored %q, want what was there before", got)
	}
	if _, err := os.Stat(at(restored, "later")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("restored a file of after the snapshot: %v", err)
	}
}

// TestHalfMade leaves behind what a killed process would, and finds it neither listed nor in the way.
func TestHalfMade(t *testing.T) {
	s := newStore(t.TempDir())
	v := ref{volumes, "v"}
	if err := os.MkdirAll(filepath.Join(s.hidden(v), "data", "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	if all, err := s.list(volumes); len(all) != 0 || err != nil {
		t.Errorf("listed %v, %v", all, err)
	}
	if _, err := s.create(t.Context(), record{ref: v}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(s.data(v)); len(entries) != 0 || err != nil {
		t.Errorf("a new volume holds %v, %v", entries, err)
	}
	if err := os.MkdirAll(filepath.Join(s.hidden(v), "data", "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.delete(v); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(s.root, "volumes")); len(entries) != 0 || err != nil {
		t.Errorf("left behind %v, %v", entries, err)
	}
}

func TestExpand(t *testing.T) {
	c := &controller{store: newStore(t.TempDir())}
	create(t, c, &spec.CreateVolumeRequest{Name: "v", CapacityRange: &spec.CapacityRange{RequiredBytes: 10}})
	for _, step := range []struct{ ask, want int64 }{{20, 20}, {20, 20}, {15, 20}} {
		out, err := c.ControllerExpandVolume(t.Context(), &spec.ControllerExpandVolumeRequest{
			VolumeId: "v", CapacityRange: &spec.CapacityRange{RequiredBytes: step.ask},
		})
		if err != nil || out.GetCapacityBytes() != step.want || out.GetNodeExpansionRequired() {
			t.Errorf("asked for %d: got %v, %v; want %d and nothing left to the node", step.ask, out, err, step.want)
		}
	}
}

// TestPublish mounts one volume on two nodes of a machine.
func TestPublish(t *testing.T) {
	requireMounts(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	c := &controller{store: newStore(root)}
	create(t, c, &spec.CreateVolumeRequest{Name: "v", CapacityRange: &spec.CapacityRange{RequiredBytes: 1 << 20}})
	targets := map[string]*spec.NodePublishVolumeRequest{}
	for _, name := range []string{"a", "b"} {
		n := &node{name: name, store: newStore(root)}
		r := &spec.NodePublishVolumeRequest{
			VolumeId: "v", TargetPath: filepath.Join(dir, name, "mount"), VolumeCapability: mount, Readonly: name == "b",
		}
		t.Cleanup(func() { _ = unix.Unmount(r.TargetPath, unix.MNT_DETACH) })
		for range 2 {
			if _, err := n.NodePublishVolume(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		targets[name] = r
	}
	put(t, filepath.Join(targets["a"].TargetPath, "file"), "text")
	if got := read(t, filepath.Join(targets["b"].TargetPath, "file")); got != "text" {
		t.Errorf("the other node reads %q", got)
	}
	if err := os.WriteFile(filepath.Join(targets["b"].TargetPath, "file"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("wrote to a volume that was published for reading: %v", err)
	}
	n := &node{store: newStore(root)}
	stats, err := n.NodeGetVolumeStats(t.Context(), &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: targets["a"].TargetPath})
	if err != nil {
		t.Fatal(err)
	}
	if u := stats.GetUsage()[0]; u.GetTotal() != 1<<20 || u.GetUsed() <= 0 || u.GetUsed()+u.GetAvailable() != u.GetTotal() {
		t.Errorf("got usage %v", u)
	}
	for _, r := range targets {
		for range 2 {
			if _, err := n.NodeUnpublishVolume(t.Context(), &spec.NodeUnpublishVolumeRequest{VolumeId: "v", TargetPath: r.TargetPath}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(r.TargetPath); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: still there: %v", r.TargetPath, err)
		}
	}
	if got := read(t, filepath.Join(c.store.data(ref{volumes, "v"}), "file")); got != "text" {
		t.Errorf("after the last unmount the volume holds %q", got)
	}
}

// TestUnpublishSparesData points at a folder that is no mount.
func TestUnpublishSparesData(t *testing.T) {
	requireMounts(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "text")
	n := &node{store: newStore(t.TempDir())}
	if _, err := n.NodeUnpublishVolume(t.Context(), &spec.NodeUnpublishVolumeRequest{VolumeId: "v", TargetPath: dir}); err == nil {
		t.Error("a folder with files in it was unpublished")
	}
	if got := read(t, filepath.Join(dir, "file")); got != "text" {
		t.Errorf("the file holds %q", got)
	}
}

func TestRegistration(t *testing.T) {
	n := Node{Name: "a", Kubelet: "/k"}
	got, err := registrar{endpoint: n.socket()}.GetInfo(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetType() != registration.CSIPlugin || got.GetName() != "csi.broletto.test" || got.GetEndpoint() != "/k/plugins_registry/csi.broletto.test.sock" {
		t.Errorf("got %v", got)
	}
}

func TestSocketTooLong(t *testing.T) {
	err := Controller{Root: t.TempDir(), Socket: filepath.Join(t.TempDir(), strings.Repeat("a", 100))}.Serve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "choose a shorter folder") {
		t.Errorf("got %v", err)
	}
}

// TestServeEnds proves that a process ends with its context and that the next one takes the socket over.
func TestServeEnds(t *testing.T) {
	c := Controller{Root: t.TempDir(), Socket: filepath.Join(t.TempDir(), "csi.sock")}
	put(t, c.Socket, "") // as one that was killed leaves it
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := c.Serve(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestCopyTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files of other owners can only be made by root")
	}
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	when := time.Unix(1_600_000_000, 0)
	in := func(name string) string { return filepath.Join(from, name) }
	err := errors.Join(
		os.MkdirAll(in("sub/empty"), 0o755), os.WriteFile(in("sub/secret"), []byte("text"), 0o600), os.WriteFile(in("tool"), nil, 0o755),
		os.Symlink("/etc/passwd", in("absolute")), os.Symlink("sub/secret", in("relative")), os.Symlink("nowhere", in("dangling")),
		unix.Mkfifo(in("pipe"), 0o644),
		os.Chown(in("sub/secret"), 1000, 2000), os.Lchown(in("relative"), 1001, 2001), os.Chown(in("tool"), 1000, 2000),
		os.Chmod(in("tool"), 0o755|fs.ModeSetuid), os.Chmod(in("sub"), 0o770|fs.ModeSetgid|fs.ModeSticky), os.Chmod(in("sub/empty"), 0),
		os.Chtimes(in("tool"), when, when), os.Chtimes(in("sub"), when, when), os.Chown(from, 0, 3000),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := copyTree(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	want := look(t, from)
	delete(want, "pipe")
	if diff := cmp.Diff(want, look(t, to)); diff != "" {
		t.Errorf("-source +copy:\n%s", diff)
	}
}

// TestCopyTreeStops proves that no copy goes on when nobody waits for it.
func TestCopyTreeStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyTree(ctx, t.TempDir(), filepath.Join(t.TempDir(), "to")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCopyStaysInside is a pod's attack: between our look at a file and its opening, the file becomes a link out of the volume, or a pipe.
func TestCopyStaysInside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	put(t, outside, "secret")
	cases := map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(outside, path) },
		"pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
	}
	for name, become := range cases {
		t.Run(name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			source, err := os.OpenRoot(from)
			if err != nil {
				t.Fatal(err)
			}
			target, err := os.OpenRoot(to)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = source.Close(), target.Close() }()
			if err := become(filepath.Join(from, "file")); err != nil {
				t.Fatal(err)
			}
			c := copier{source: source, target: target}
			_ = c.file("file")
			if _, err := os.Stat(filepath.Join(to, "file")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("copied it: %v", err)
			}
		})
	}
}

type facts struct {
	Mode     fs.FileMode
	UID, GID int
	Text     string // of a file, or where a link leads
	Time     time.Time
}

// look returns what a copy must have in common with its source. A link's own time is not kept.
func look(t *testing.T, root string) map[string]facts {
	t.Helper()
	out := map[string]facts{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := facts{Mode: info.Mode(), Time: info.ModTime()}
		f.UID, f.GID = owner(info)
		switch {
		case info.Mode().IsRegular():
			f.Text = read(t, path)
		case info.Mode()&fs.ModeSymlink != 0:
			f.Time = time.Time{}
			f.Text, err = os.Readlink(path)
		}
		name, _ := filepath.Rel(root, path)
		out[name] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
