package mover

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/move"
)

const password = "una password assai lunga" // of the tests' repositories

// order is one for a source in a store.
func order(t *testing.T, store move.Store, operation move.Operation) move.Order {
	t.Helper()
	return move.Order{
		Operation: operation, Store: store, Password: password, Backup: "3b1f",
		Source: move.Source{Tenant: "lugano", Workspace: "sportello", Volume: "dati"},
		Config: t.TempDir(), Cache: t.TempDir(),
	}
}

func folderStore(t *testing.T) move.Store {
	t.Helper()
	return move.Store{Folder: t.TempDir()}
}

// run does an order that must succeed.
func run(t *testing.T, o move.Order) move.Report {
	t.Helper()
	r := Mover{Say: func(s string) { t.Log(s) }}.Run(t.Context(), o)
	if r.Failure != nil {
		t.Fatalf("%s: %+v\n%+v", o.Operation, *r.Failure, r.Problems)
	}
	return r
}

// fails does an order that must fail in a class.
func fails(t *testing.T, o move.Order, want move.Class) move.Report {
	t.Helper()
	r := Mover{Say: func(s string) { t.Log(s) }}.Run(t.Context(), o)
	if r.Failure == nil || r.Failure.Class != want {
		text, _ := json.Marshal(r)
		t.Fatalf("%s: want a failure of class %s: %s", o.Operation, want, text)
	}
	return r
}

func backup(t *testing.T, store move.Store, dir string) move.Report {
	t.Helper()
	o := order(t, store, move.Backup)
	o.Path = dir
	return run(t, o)
}

func restore(t *testing.T, store move.Store, snapshot string) (string, move.Report) {
	t.Helper()
	o := order(t, store, move.Restore)
	o.Path, o.Snapshots = t.TempDir(), []string{snapshot}
	return o.Path, run(t, o)
}

// seen is what a test compares of an entry.
type seen struct {
	Mode  string
	Size  int64
	Time  time.Time
	Owner string
	Text  string // the content, or where a link leads
}

// look reads a tree. Large files are compared by size and holes.
func look(t *testing.T, dir string) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s := seen{Mode: info.Mode().String(), Time: info.ModTime().UTC()}
		stat := info.Sys().(*syscall.Stat_t)
		s.Owner = fmt.Sprint(stat.Uid, ":", stat.Gid)
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			s.Time = time.Time{}
			s.Text, err = os.Readlink(path)
		case info.Mode().IsRegular():
			s.Size = info.Size()
			if info.Size() < 64<<20 {
				var text []byte
				text, err = os.ReadFile(path)
				s.Text = string(text)
			}
		case !info.IsDir():
			return nil
		}
		name, _ := filepath.Rel(dir, path)
		all[name] = s
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// same compares two trees.
func same(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(look(t, want), look(t, got)); diff != "" {
		t.Errorf("what is back is not what was there (-want +got):\n%.3000s", diff)
	}
}

// write makes a file with its folders.
func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o640); err != nil {
		t.Fatal(err)
	}
}

// noise is what does not compress.
func noise(seed, n int) []byte {
	b := make([]byte, n)
	s := [32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

// sample is a tree with all that a volume may have.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"perché/città è già.txt", "Zürich/Bühlmann & Söhne.pdf", "Ελλάδα/δήμος", "Україна/міська рада", "日本/市役所.txt", "ישראל/עירייה", "مصر/بلدية",
		"e\u0301 decomposed", "è composed", "emoji 🏛", "new\nline", " leading", "trailing ", "quote\"'`$(x)", "back\\slash", "-rf", "...", "latin-\xe8\xe0\xff",
		"cartella latin-\xf9/file", "x.kopia-entry", ".kopiaignore", strings.Repeat("ü", 127),
	} {
		write(t, filepath.Join(dir, name), []byte("*\n"+name))
	}
	write(t, filepath.Join(dir, "vuoto"), nil)
	write(t, filepath.Join(dir, "grande"), noise(1, 5<<20))
	write(t, filepath.Join(dir, "zeri"), make([]byte, 3<<20+17))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink("/etc/passwd", filepath.Join(dir, "collegamento")))
	must(os.Symlink("nulla", filepath.Join(dir, "rotto")))
	must(os.Mkdir(filepath.Join(dir, "cartella vuota"), 0o711))
	must(os.Chmod(filepath.Join(dir, "vuoto"), os.ModeSetuid|0o755))
	must(os.Chmod(filepath.Join(dir, "perché"), os.ModeSetgid|0o770))
	if os.Geteuid() == 0 {
		must(os.Chown(filepath.Join(dir, "grande"), 1234, 5678))
		must(os.Lchown(filepath.Join(dir, "rotto"), 99, 98))
	}
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	must(os.Chtimes(filepath.Join(dir, "grande"), old, old))
	must(os.Chtimes(filepath.Join(dir, "cartella vuota"), old, old))
	return dir
}

func TestBackupRestore(t *testing.T) {
	t.Parallel()
	store, dir := folderStore(t), sample(t)
	first := backup(t, store, dir)
	if first.Bytes == 0 || first.Files < 25 || first.Snapshot == "" || first.Root == "" || first.Requests.Put == 0 {
		t.Errorf("the first backup: %+v", first)
	}
	second := backup(t, store, dir)
	if second.Root != first.Root || second.Unchanged < 20 || second.Requests.Sent > first.Requests.Sent/10 {
		t.Errorf("nothing has changed, but: %+v", second)
	}
	back, r := restore(t, store, second.Snapshot)
	same(t, dir, back)
	if r.Root != first.Root || r.Files != first.Files || r.Bytes != first.Bytes {
		t.Errorf("restored: %+v, backed up: %+v", r, first)
	}
	v := run(t, order(t, store, move.Verify))
	if v.Files != first.Files || v.Requests.Received < first.Requests.Sent/2 {
		t.Errorf("verified: %+v", v)
	}
	t.Logf("first %+v\nsecond %+v\nrestore %+v\nverify %+v", first.Requests, second.Requests, r.Requests, v.Requests)
}
