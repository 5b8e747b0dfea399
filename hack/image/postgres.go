package image

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// PostgresUser is the user and group that an image with [Postgres] knows: its server refuses to be root, and to be nobody known.
const PostgresUser = "999:999"

// Postgres are the files of an image with a PostgreSQL server, what dumps it and what brings a dump back, as Debian's package installed them
// here, each program also in /bin. It has no shell: [Busybox] does, which initdb needs. The folder work gets what is written for it. Where the package is missing, the error is fs.ErrNotExist.
func Postgres(work string) ([]File, error) {
	homes, err := filepath.Glob("/usr/lib/postgresql/*")
	if err != nil {
		return nil, err
	}
	if len(homes) == 0 {
		return nil, fmt.Errorf("PostgreSQL in /usr/lib/postgresql: %w; Debian's package postgresql has it", fs.ErrNotExist)
	}
	slices.Sort(homes)
	home := homes[len(homes)-1]
	var files []File
	var programs []string
	for _, name := range []string{"postgres", "initdb", "pg_isready", "pg_dump", "pg_restore", "psql"} {
		path := filepath.Join(home, "bin", name)
		programs = append(programs, path)
		files = append(files, File{Path: path, From: path, Mode: 0o755}, File{Path: "/bin/" + name, Link: path})
	}
	libraries, err := libraries(programs)
	if err != nil {
		return nil, err
	}
	modules, err := filepath.Glob(filepath.Join(home, "lib", "*.so"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(libraries, modules...) {
		if filepath.Base(path) != "llvmjit.so" { // does without, and saves a compiler
			files = append(files, File{Path: path, From: path, Mode: 0o755})
		}
	}
	share := filepath.Join("/usr/share/postgresql", filepath.Base(home))
	err = filepath.WalkDir(share, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(path, filepath.Join(share, "man")) {
			files = append(files, File{Path: path, From: path, Mode: 0o644})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	users := filepath.Join(work, "passwd")
	files = append(files, File{Path: "/etc/passwd", From: users, Mode: 0o644})
	return files, os.WriteFile(users, []byte("postgres:x:"+PostgresUser+"::/tmp:/bin/sh\n"), 0o644)
}

// libraries are those that programs are linked to, and what links them, as they are found here.
func libraries(programs []string) ([]string, error) {
	out, err := exec.Command("ldd", programs...).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %v: %w", programs, err)
	}
	var all []string
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
			all = append(all, word)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
