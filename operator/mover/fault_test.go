package mover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/dump"
	"github.com/broletto/broletto/operator/move"
)

// variable has this program be a mover, for what can only be done to a process.
const variable = "BROLETTO_TEST_ORDER"

func TestMain(m *testing.M) {
	path := os.Getenv(variable)
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	o, err := move.ReadOrder(f)
	if err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(Mover{}.Run(context.Background(), o))
}

// process is this program as a mover.
func process(t *testing.T, o move.Order, uid uint32) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Config, "order.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // which anybody may
	cmd.Env = append(os.Environ(), variable+"="+path)
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return cmd
}

func newCause(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// smallDisk is a disk of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a small disk needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestDamage breaks a store in each way. A backup or a verification tells, and a restore yields what is whole and names what is not.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		what    string // blobs begin with
		do      func(t *testing.T, path string)
		backup  bool // the next backup tells
		restore bool // what is whole comes back
	}{
		"missing pack":       {"p", remove, true, true},
		"shorter pack":       {"p", shorten, true, true},
		"flipped bits":       {"p", flip, false, true},
		"missing folders":    {"q", remove, true, false},
		"flipped folders":    {"q", flip, false, false},
		"missing index":      {"x", remove, false, false},
		"flipped index":      {"x", flip, true, false},
		"another repository": {"kopia.repository", flip, true, false},
		"shorter repository": {"kopia.repository", shorten, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, dir := folderStore(t), t.TempDir()
			for i := range 12 {
				write(t, filepath.Join(dir, fmt.Sprintf("%02d", i), "f"), noise(100+i, 4<<20))
			}
			first := backup(t, store, dir)
			victims := blobs(t, store.Folder, c.what)
			for _, v := range victims[:1+len(victims)/4] {
				c.do(t, v)
			}
			write(t, filepath.Join(dir, "nuovo"), noise(99, 100<<10))
			o := order(t, store, move.Backup)
			o.Path = dir
			next := Mover{}.Run(t.Context(), o)
			if told := next.Failure != nil; told != c.backup && c.backup {
				t.Errorf("the backup after it says nothing: %+v", next)
			} else if told && next.Failure.Class != move.FailureDamaged && next.Failure.Class != move.FailureDenied {
				t.Errorf("the backup after it: %+v", next.Failure)
			}
			v := order(t, store, move.Verify)
			v.Snapshots = []string{first.Snapshot}
			r := Mover{}.Run(t.Context(), v)
			if r.Failure == nil {
				t.Fatalf("the verification says nothing: %+v", r)
			}
			t.Logf("%s: backup %+v, verification %+v %+v", name, next.Failure, r.Failure, r.Problems)
			if !c.restore {
				return
			}
			if r.Failure.Class != move.FailureDamaged || r.Failed == 0 || r.Failed == 12 || len(r.Problems) == 0 {
				t.Errorf("verified: %+v", r)
			}
			o = order(t, store, move.Restore)
			o.Path, o.Snapshots = t.TempDir(), []string{first.Snapshot}
			back := fails(t, o, move.FailureDamaged)
			if back.Failed != r.Failed || back.Files+back.Failed != 12 {
				t.Errorf("restored: %+v", back)
			}
			lost := map[string]bool{}
			for _, p := range back.Problems {
				lost[p.Path] = true
			}
			for i := range 12 {
				name := fmt.Sprintf("%02d/f", i)
				text, err := os.ReadFile(filepath.Join(o.Path, name))
				if lost[name] == (err == nil) || err == nil && string(text) != string(noise(100+i, 4<<20)) {
					t.Errorf("%s: lost %v, but %v", name, lost[name], err)
				}
			}
		})
	}
}

func blobs(t *testing.T, dir, prefix string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if id := strings.ReplaceAll(rel, "/", ""); err == nil && !d.IsDir() && strings.HasPrefix(id, prefix) && strings.HasSuffix(id, ".f") {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("no blob begins with %s: %v", prefix, err)
	}
	return all
}

func remove(t *testing.T, path string) {
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func shorten(t *testing.T, path string) {
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(text) / 3; i < len(text); i += 1 + len(text)/7 {
		text[i] ^= 0x20
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestLarge backs up a large file that is changed in place, as a disk or a database is, or that something is inserted into.
func TestLarge(t *testing.T) {
	t.Parallel()
	const size, pages = minLarge + 12345, 20
	for _, profile := range []move.Profile{move.General, move.Database} {
		t.Run(string(profile), func(t *testing.T) {
			t.Parallel()
			o := order(t, folderStore(t), move.Backup)
			o.Path, o.Profile = t.TempDir(), profile
			path, text := filepath.Join(o.Path, "disco.img"), noise(1, size)
			write(t, path, text)
			if r := run(t, o); r.Bytes != size {
				t.Errorf("%d bytes were backed up", r.Bytes)
			}
			for i := range pages {
				copy(text[i*3<<20:], noise(2+i, 8<<10))
			}
			write(t, path, text)
			changed := run(t, o)
			if changed.Requests.Sent > 2*pages*256<<10 {
				t.Errorf("%d bytes were sent when %d pages had changed", changed.Requests.Sent, pages)
			}
			if r := run(t, o); r.Unchanged != 1 || r.Requests.Sent > 64<<10 {
				t.Errorf("when nothing had changed, %d bytes were sent, and %d files are said to be the same", r.Requests.Sent, r.Unchanged)
			}
			back, _ := restore(t, o.Store, changed.Snapshot)
			same(t, o.Path, back)
			if got, err := os.ReadFile(filepath.Join(back, "disco.img")); err != nil || !bytes.Equal(got, text) {
				t.Errorf("something else is back: %v", err)
			}
			write(t, path, slices.Insert(text, 1<<20, []byte("tre righe di più")...))
			if sent := run(t, o).Requests.Sent; (sent > 4<<20) != (profile == move.Database) {
				t.Errorf("%d bytes were sent when a few were inserted", sent)
			}
		})
	}
}

// TestCutOff backs up a large file of which there is less, or nothing, once it is read.
func TestCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "disco.img")
	o := order(t, folderStore(t), move.Backup)
	o.Path = dir
	s := &session{order: o, meter: newMeter(), progress: &progress{}, redact: newRedactor(o)}
	ctx := t.Context()
	if err := errors.Join(s.order.Complete(), s.connect(ctx), s.open(ctx)); err != nil {
		t.Fatal(err)
	}
	defer s.close(ctx)
	_, w, err := s.repo.NewDirectWriter(ctx, repo.WriteSessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close(ctx) }()
	tree, root, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.root.Close() }()
	tree.large = &large{ctx: ctx, w: w, cut: cuts[move.General], progress: s.progress}
	for _, left := range []int64{minLarge / 3, 0} {
		write(t, path, noise(1, minLarge))
		e, err := root.Child(ctx, "disco.img")
		if err == nil {
			err = os.Truncate(path, left)
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.(*largeFile).DirEntryOrNil(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := w.OpenObject(ctx, d.ObjectID); err != nil || d.FileSize != left || r.Length() != left {
			t.Errorf("of %d bytes left, %d are said to be kept: %v", left, d.FileSize, err)
		}
	}
}

// TestSparse backs up 20 GiB of which a few bytes are on the disk.
func TestSparse(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	const size = 20 << 30
	path := filepath.Join(dir, "disco.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	text := map[int64][]byte{0: noise(1, 1<<20), 5<<30 + 123: noise(2, 3<<20), 12 << 30: []byte("in mezzo"), size - 5: []byte("fine!")}
	for at, b := range text {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b := backup(t, store, dir)
	if b.Bytes != size || b.Requests.Sent > 6<<20 {
		t.Errorf("%d bytes were backed up, %d were sent", b.Bytes, b.Requests.Sent)
	}
	back, _ := restore(t, store, b.Snapshot)
	same(t, dir, back)
	if f, err = os.Open(filepath.Join(back, "disco.img")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for at, want := range text {
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, at); err != nil || string(got) != string(want) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	info, err := f.Stat()
	if err != nil || info.Size()-holes(info) > 6<<20 {
		t.Errorf("%d bytes are on the disk: %v", info.Size()-holes(info), err)
	}
	t.Logf("backup %.1f s", b.Seconds)
}

// TestSpecial tells of sockets, pipes and devices.
func TestSpecial(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), []byte("x"))
	want := int64(2)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil {
		want++
	}
	if r := backup(t, folderStore(t), dir); r.Special != want || r.Files != 1 {
		t.Errorf("%+v, want %d special files", r, want)
	}
}

// TestUnreadable tells of files that it may not read, keeps all others, and does not say that it is done.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it needs root, and another user")
	}
	base, err := os.MkdirTemp("", "mover-*") // others may enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	o := order(t, move.Store{Folder: filepath.Join(base, "store")}, move.Backup)
	o.Path, o.Config, o.Cache = filepath.Join(base, "data"), filepath.Join(base, "config"), filepath.Join(base, "cache")
	write(t, filepath.Join(o.Path, "chiuso"), []byte("x"))
	write(t, filepath.Join(o.Path, "aperto"), []byte("y"))
	write(t, filepath.Join(o.Path, "cartella", "f"), []byte("z"))
	for path, mode := range map[string]os.FileMode{"": 0o755, "store": 0o777, "data": 0o755, "config": 0o777, "cache": 0o777, "data/aperto": 0o644, "data/cartella": 0o700, "data/chiuso": 0o600} {
		path = filepath.Join(base, path)
		if err := errors.Join(os.MkdirAll(path, 0o777), os.Chmod(path, mode)); err != nil && !strings.Contains(err.Error(), "not a directory") {
			t.Fatal(err)
		}
		_ = os.Chmod(path, mode)
	}
	out, err := process(t, o, 65534).Output()
	var r move.Report
	if err != nil || json.Unmarshal(out, &r) != nil {
		t.Fatalf("%v %s", err, out)
	}
	if r.Failure == nil || r.Failure.Class != move.FailureSource || r.Failed != 2 || r.Snapshot == "" || r.Files != 1 {
		t.Fatalf("%s", out)
	}
	back, _ := restore(t, o.Store, r.Snapshot)
	if text, err := os.ReadFile(filepath.Join(back, "aperto")); err != nil || string(text) != "y" {
		t.Errorf("%q %v", text, err)
	}
}

func storeSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// TestVanishing backs up a folder in which files come and go.
func TestVanishing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 300 {
		write(t, filepath.Join(dir, "fisso", fmt.Sprint(i)), noise(i, 2000))
	}
	ctx, cancel := newCause(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			path := filepath.Join(dir, fmt.Sprint("tmp", i%50))
			if i%2 == 0 {
				_ = os.WriteFile(path, []byte("x"), 0o600)
			} else {
				_ = os.RemoveAll(filepath.Join(dir, fmt.Sprint("tmp", (i+25)%50)))
			}
		}
	}()
	store := folderStore(t)
	r := backup(t, store, dir)
	cancel()
	<-done
	back, _ := restore(t, store, r.Snapshot)
	if d, err := os.ReadDir(filepath.Join(back, "fisso")); err != nil || len(d) != 300 {
		t.Errorf("%d files are back: %v", len(d), err)
	}
}

// TestSwappedFolder has a folder become a link to elsewhere between the moment in which it is seen and that in which it is read.
func TestSwappedFolder(t *testing.T) {
	t.Parallel()
	dir, secret := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a", "order.json"), []byte("innocuo"))
	write(t, filepath.Join(secret, "order.json"), []byte("segreto"))
	tree, root, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.root.Close() }()
	ctx := t.Context()
	a, err := root.Child(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.(fs.Directory).Child(ctx, "order.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")), os.Symlink(secret, filepath.Join(dir, "a"))); err != nil {
		t.Fatal(err)
	}
	if r, err := f.(fs.File).Open(ctx); err == nil {
		t.Errorf("a file out of the folder was opened: %v", r)
	}
	if _, err := a.(fs.Directory).Iterate(ctx); err == nil {
		t.Error("a folder out of the folder was read")
	}
}

// TestHostile restores folders whose entries would lead elsewhere.
func TestHostile(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	write(t, filepath.Join(dir, "f"), []byte("malevolo"))
	b := backup(t, store, dir)
	outside := t.TempDir()
	o := order(t, store, move.Restore)
	o.Path, o.Existing = filepath.Join(outside, "target"), move.Replace
	if err := os.Mkdir(o.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	names := []string{"../fuori", "..", ".", "", "a/b", "/fuori", "\x00", "\x002f", "\x0041", "x\x00zz"}
	o.Snapshots = []string{forge(t, store, b.Snapshot, func(f *snapshot.DirEntry, _ func(...*snapshot.DirEntry) *snapshot.DirEntry, _ func(string) *snapshot.DirEntry) (all []*snapshot.DirEntry) {
		for _, kept := range names {
			e := f.Clone()
			e.Name = kept
			all = append(all, e)
		}
		return append(all, f)
	})}
	if r := fails(t, o, move.FailureDamaged); r.Failed != int64(len(names)) || r.Files != 1 {
		t.Errorf("%+v", r)
	} else {
		for _, p := range r.Problems { // not only because the folder's root refuses it
			if !strings.Contains(p.Message, errHostile.Error()) {
				t.Errorf("%+v", p)
			}
		}
	}
	// A link, and a folder of the same name with a file in it that would follow the link.
	o.Snapshots = []string{forge(t, store, b.Snapshot, func(f *snapshot.DirEntry, folder func(...*snapshot.DirEntry) *snapshot.DirEntry, link func(string) *snapshot.DirEntry) []*snapshot.DirEntry {
		l, d := link(outside), folder(f)
		l.Name, d.Name = "via", "via"
		return []*snapshot.DirEntry{l, d}
	})}
	o.Existing = move.Keep
	Mover{}.Run(t.Context(), o)
	if all, err := os.ReadDir(outside); err != nil || len(all) != 1 {
		t.Errorf("the restore wrote beside its folder: %v %v", all, err)
	}
}

// forge makes a snapshot with a list of entries of a test's own.
func forge(t *testing.T, store move.Store, of string, entries func(file *snapshot.DirEntry, folder func(...*snapshot.DirEntry) *snapshot.DirEntry, link func(string) *snapshot.DirEntry) []*snapshot.DirEntry) string {
	t.Helper()
	ctx := t.Context()
	o := order(t, store, move.Maintain)
	s := &session{order: o, meter: newMeter(), progress: &progress{}, redact: newRedactor(o)}
	if err := errors.Join(s.order.Complete(), s.connect(ctx), s.open(ctx)); err != nil {
		t.Fatal(err)
	}
	defer s.close(ctx)
	s.order.Snapshots = []string{of}
	all, err := s.snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.order.Snapshots = nil
	list, err := s.list(ctx, all[0].RootEntry.ObjectID)
	if err != nil {
		t.Fatal(err)
	}
	_, w, err := s.repo.NewDirectWriter(ctx, repo.WriteSessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(prefix object.Writer, text []byte) object.ID {
		_, err := prefix.Write(text)
		if err != nil {
			t.Fatal(err)
		}
		id, err := prefix.Result()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	folder := func(entries ...*snapshot.DirEntry) *snapshot.DirEntry {
		text, err := json.Marshal(snapshot.DirManifest{StreamType: "kopia:directory", Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		return &snapshot.DirEntry{Type: snapshot.EntryTypeDirectory, Permissions: 0o755, ObjectID: put(w.NewObjectWriter(ctx, object.WriterOptions{Prefix: "k"}), text)}
	}
	link := func(to string) *snapshot.DirEntry {
		return &snapshot.DirEntry{Type: snapshot.EntryTypeSymlink, Permissions: 0o777, ObjectID: put(w.NewObjectWriter(ctx, object.WriterOptions{}), []byte(to))}
	}
	m := *all[0]
	m.RootEntry = folder(entries(list[0], folder, link)...)
	m.RootEntry.Name = "volume"
	id, err := snapshot.SaveSnapshot(ctx, w, &m)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Flush(ctx), w.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	return string(id)
}

// TestTargetIsFull restores to a disk that is too small.
func TestTargetIsFull(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	for i := range 20 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), noise(i, 1<<20))
	}
	b := backup(t, store, dir)
	o := order(t, store, move.Restore)
	o.Path, o.Snapshots = smallDisk(t, 8<<20), []string{b.Snapshot}
	r := fails(t, o, move.FailureSpace)
	if !strings.Contains(r.Failure.Message, o.Path) {
		t.Errorf("it does not say which disk: %s", r.Failure.Message)
	}
	// A cache without room is none: packs are read piece by piece.
	o.Path, o.Cache = t.TempDir(), smallDisk(t, 1<<20)
	run(t, o)
	same(t, dir, o.Path)
}

// TestExisting keeps or replaces what stands there.
func TestExisting(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	write(t, filepath.Join(dir, "a", "f"), []byte("nuovo"))
	write(t, filepath.Join(dir, "g"), []byte("nuovo"))
	b := backup(t, store, dir)
	for existing, want := range map[move.Existing]string{move.Keep: "vecchio", move.Replace: "nuovo"} {
		o := order(t, store, move.Restore)
		o.Path, o.Snapshots, o.Existing = t.TempDir(), []string{b.Snapshot}, existing
		write(t, filepath.Join(o.Path, "a", "f"), []byte("vecchio"))
		write(t, filepath.Join(o.Path, "altro"), []byte("altro"))
		r := run(t, o)
		text, err := os.ReadFile(filepath.Join(o.Path, "a", "f"))
		if err != nil || string(text) != want || (r.Unchanged == 1) != (existing == move.Keep) {
			t.Errorf("%s: %q %v %+v", existing, text, err, r)
		}
		if text, err := os.ReadFile(filepath.Join(o.Path, "altro")); err != nil || string(text) != "altro" {
			t.Errorf("%s took away what is not in the backup: %v", existing, err)
		}
	}
}

// TestCompare finds what differs of what was restored, each in another way, and nothing in what does not.
func TestCompare(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	large := bytes.Repeat([]byte("delibera "), 300<<10)
	write(t, filepath.Join(dir, "a", "grande"), large)
	write(t, filepath.Join(dir, "a", "corto"), []byte("corto"))
	write(t, filepath.Join(dir, "b", "modo"), []byte("modo"))
	if err := os.Symlink("corto", filepath.Join(dir, "a", "rinvio")); err != nil {
		t.Fatal(err)
	}
	b := backup(t, store, dir)
	o := order(t, store, move.Restore)
	o.Path, o.Snapshots, o.Compare = t.TempDir(), []string{b.Snapshot}, true
	run(t, o)
	o.Existing = move.Keep
	run(t, o) // and again, on what is there

	large[2<<20] = 'x'
	if err := os.Remove(filepath.Join(o.Path, "a", "rinvio")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(o.Path, "a", "grande"), large, 0o600), os.WriteFile(filepath.Join(o.Path, "a", "corto"), []byte("cort"), 0o600),
		os.Chmod(filepath.Join(o.Path, "b", "modo"), 0o600), os.Symlink("grande", filepath.Join(o.Path, "a", "rinvio")),
	); err != nil {
		t.Fatal(err)
	}
	r := fails(t, o, move.FailureTarget)
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.Path)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a/corto", "a/grande", "a/rinvio", "b/modo"}, got); diff != "" {
		t.Errorf("what differs (-want +got):\n%s\n%+v", diff, r)
	}
}

// databaseSide runs what dumps and brings back beside a mover, until the test ends.
func databaseSide(t *testing.T, s dump.Server, script string) *move.Stream {
	t.Helper()
	s.Socket, s.Ready, s.Program = filepath.Join(t.TempDir(), "s"), []string{"true"}, []string{"/bin/sh", "-c", script}
	s.Env = []string{"PATH=" + os.Getenv("PATH")}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &move.Stream{Name: "sportello.dump", Socket: s.Socket}
}

// TestStream keeps what a program dumps if it ends well, and hands it back.
func TestStream(t *testing.T) {
	t.Parallel()
	store := folderStore(t)
	o := order(t, store, move.Backup)
	o.Stream = databaseSide(t, dump.Server{}, "head -c 3000000 /dev/zero; echo dump")
	r := run(t, o)
	if r.Files != 1 || r.Bytes != 3000005 {
		t.Errorf("%+v", r)
	}
	out := filepath.Join(t.TempDir(), "out")
	back := order(t, store, move.Restore)
	back.Snapshots = []string{r.Snapshot}
	back.Stream = databaseSide(t, dump.Server{Loads: true}, "cat > '"+out+"'")
	if b := run(t, back); b.Bytes != r.Bytes || b.Root != r.Root {
		t.Errorf("restored: %+v, backed up: %+v", b, r)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != string(make([]byte, 3000000))+"dump\n" {
		t.Errorf("%d bytes came back, %v", len(text), err)
	}
	back.Stream = databaseSide(t, dump.Server{Loads: true}, "echo 'role anna does not exist' >&2; exit 1")
	if r := fails(t, back, move.FailureTarget); !strings.Contains(r.Failure.Message, "role anna") {
		t.Errorf("%+v", r)
	}
	o.Stream = databaseSide(t, dump.Server{}, "head -c 3000000 /dev/zero; echo 'connection lost' >&2; exit 1")
	if r := fails(t, o, move.FailureSource); r.Snapshot != "" || !strings.Contains(r.Failure.Message, "connection lost") {
		t.Errorf("%+v", r)
	}
	o.Stream = databaseSide(t, dump.Server{}, "exec sleep 1000")
	o.Deadline = time.Now().Add(3 * time.Second)
	fails(t, o, move.FailureDeadline)
	o.Deadline, o.Stream = time.Time{}, databaseSide(t, dump.Server{}, "kill -9 $$")
	fails(t, o, move.FailureSource)
	if v := run(t, order(t, store, move.Verify)); v.Files != 1 {
		t.Errorf("of three dumps that failed something is left: %+v", v)
	}
}

// TestDumpIsDamaged: what the store has lost of a dump is not brought back in part.
func TestDumpIsDamaged(t *testing.T) {
	t.Parallel()
	store := folderStore(t)
	o := order(t, store, move.Backup)
	o.Stream = databaseSide(t, dump.Server{}, "head -c 50000000 /dev/urandom")
	r := run(t, o)
	packs, err := filepath.Glob(filepath.Join(store.Folder, "p*", "*", "*"))
	if err != nil || len(packs) < 2 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	if err := os.Remove(packs[len(packs)-1]); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	back := order(t, store, move.Restore)
	back.Snapshots = []string{r.Snapshot}
	back.Stream = databaseSide(t, dump.Server{Loads: true}, "cat > '"+out+".part' && mv '"+out+".part' '"+out+"'")
	fails(t, back, move.FailureDamaged)
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was: %v", err)
	}
}

// TestMaintain forgets a snapshot and gives back its space, and nothing of another's.
func TestMaintain(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	write(t, filepath.Join(dir, "a"), noise(1, 40<<20))
	first := backup(t, store, dir)
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "b"), noise(2, 3<<20))
	second := backup(t, store, dir)
	o := order(t, store, move.Maintain)
	if r := run(t, o); r.Forgotten != 0 {
		t.Errorf("%+v", r)
	}
	run(t, order(t, store, move.Verify))
	o.Snapshots = []string{first.Snapshot}
	for range 3 { // it is marked, then dropped from the index, then deleted
		if r := (Mover{unsafe: true}).Run(t.Context(), o); r.Failure != nil {
			t.Fatalf("%+v", r.Failure)
		}
		if storeSize(store.Folder) < 20<<20 {
			break
		}
	}
	// What was in one pack with something that is needed stays for a while.
	if n := storeSize(store.Folder); n > 20<<20 {
		t.Errorf("%d bytes are left of 43 MiB", n)
	}
	back, _ := restore(t, store, second.Snapshot)
	same(t, dir, back)
	run(t, order(t, store, move.Verify))
	gone := order(t, store, move.Restore)
	gone.Path, gone.Snapshots = t.TempDir(), []string{first.Snapshot}
	fails(t, gone, move.FailureOrder)
}

// TestManyFiles backs up and restores 20,000 small files.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), t.TempDir()
	for d := range 100 {
		folder := filepath.Join(dir, fmt.Sprint(d/10), fmt.Sprint(d))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range 200 {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(f)), noise(d*200+f, 200+f), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := backup(t, store, dir)
	back, r := restore(t, store, b.Snapshot)
	if r.Files != 20000 || r.Folders != 111 {
		t.Errorf("%+v", r)
	}
	same(t, dir, back)
	t.Logf("backup %.1f s, restore %.1f s", b.Seconds, r.Seconds)
}

// TestNoSecretOnDisk looks for secrets in what the mover writes beside its target.
func TestNoSecretOnDisk(t *testing.T) {
	t.Parallel()
	o := order(t, move.Store{
		Endpoint: "http://127.0.0.1:1", Bucket: "stati", AccessKey: "chiave-pubblica", SecretKey: "chiave-segreta", SessionToken: "gettone-segreto",
	}, move.Backup)
	o.Path = t.TempDir()
	s := &session{order: o, meter: newMeter(), progress: &progress{}, redact: newRedactor(o)}
	if err := errors.Join(s.order.Complete(), s.connect(t.Context()), s.folders(), s.configure(1)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{o.Password, o.Store.SecretKey, o.Store.SessionToken, o.Store.AccessKey} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is written down", secret)
		}
		if said := s.redact.text("it failed with " + secret + "\nand more"); strings.Contains(said, secret) || strings.Contains(said, "\n") {
			t.Errorf("%q is told", said)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "è", "\xe8", "a\xffb\xfe", "日本", "\xf0\x9f", "\uFFFD", "new\nline"} {
		kept := encodeName(name)
		if got, err := decodeName(kept); err != nil || got != name {
			t.Errorf("%q is kept as %q and comes back as %q: %v", name, kept, got, err)
		}
	}
}

// holes is how much of a file is on no disk.
func holes(info os.FileInfo) int64 { return info.Size() - info.Sys().(*syscall.Stat_t).Blocks*512 }
