package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// tree is what is backed up: of 2 GiB, 15,000 texts, 4,000 scans, which do not compress, 1,000 duplicates of these and one database file of
// 384 MiB. It is the same wherever it is made.
type tree struct {
	dir   string
	scale float64 // of 2 GiB
}

const (
	whole    = 2 << 30
	texts    = 15000
	scans    = 4000
	doubles  = 1000
	database = 384 << 20
	scanSize = 280 << 10 // on average
)

func (t tree) n(of int) int { return max(1, int(float64(of)*t.scale)) }

func (t tree) path(kind string, i int) string {
	return filepath.Join(t.dir, kind, fmt.Sprintf("%03d", i/200), fmt.Sprintf("%s-%05d", kind, i))
}

// make writes the tree.
func (t tree) make() error {
	for i := range t.n(texts) {
		if err := t.write(t.path("testi", i), text(uint64(i))); err != nil {
			return err
		}
	}
	for i := range t.n(scans) {
		if err := t.write(t.path("scansioni", i), noise(uint64(i), scanSize/2+i*7919%scanSize)); err != nil {
			return err
		}
	}
	for i := range t.n(doubles) {
		if err := t.write(t.path("copie", i), noise(uint64(i), scanSize/2+i*7919%scanSize)); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(t.dir, "database"))
	if err != nil {
		return err
	}
	for i := range t.n(database / pageSize) {
		if _, err := f.Write(page(uint64(i))); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// change is a day's work: one text in fifty is written anew, as many scans come as are a twentieth, and one page in a hundred of the database
// changes in place.
func (t tree) change() error {
	for i := 0; i < t.n(texts); i += 50 {
		if err := t.write(t.path("testi", i), text(uint64(i)+1<<32)); err != nil {
			return err
		}
	}
	for i := range t.n(scans / 20) {
		if err := t.write(t.path("scansioni-nuove", i), noise(uint64(i)+1<<32, scanSize)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(t.dir, "database"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range t.n(database/pageSize) / 100 {
		if _, err := f.WriteAt(page(r.Uint64()), int64(r.IntN(t.n(database/pageSize)))*pageSize); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func (t tree) write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

var words = strings.Fields(`il comune di lugano rende noto che ai sensi della legge organica comunale la risoluzione municipale è esposta all'albo
per il periodo di quindici giorni contro la presente decisione è dato ricorso al consiglio di stato entro trenta giorni dalla notifica`)

// text is 4 to 12 KiB that compress as text does.
func text(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	var b strings.Builder
	for n := 4096 + r.IntN(8192); b.Len() < n; {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(10000))
	}
	return []byte(b.String())
}

const pageSize = 8 << 10

// page is one of a database: half of it rows that compress, half that do not.
func page(seed uint64) []byte {
	b := noise(seed, pageSize)
	copy(b[pageSize/2:], text(seed))
	return b
}

// small is a tree of so many files of 1 to 3 KiB.
func small(dir string, n int) error {
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%03d", i/1000), fmt.Sprint(i))
		if i%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, noise(uint64(i), 1024+i%2048), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sum is a hash of all names and contents in a folder.
func sum(dir string) (string, error) {
	all := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		fmt.Fprintf(all, "%q %x\n", rel, h.Sum(nil))
		return errors.Join(err, f.Close())
	})
	return hex.EncodeToString(all.Sum(nil)), err
}
