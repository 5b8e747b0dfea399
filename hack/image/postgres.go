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
	home, err := postgresHome()
	if err != nil {
		return nil, err
	}
	files, err := programsOf(home, append([]string{"postgres", "initdb", "psql"}, PostgresClients...))
	if err != nil {
		return nil, err
	}
	modules, err := filepath.Glob(filepath.Join(home, "lib", "*.so"))
	if err != nil {
		return nil, err
	}
	for _, path := range modules {
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

// PostgresClients are what dumps a database, brings it back and sees whether its server answers.
var PostgresClients = []string{"pg_dump", "pg_isready", "pg_restore"}

// PostgresClient are the files of an image with [PostgresClients] in /bin, as Debian's package installed them here, and all that they need. Where
// the package is missing, the error is fs.ErrNotExist.
func PostgresClient() ([]File, error) {
	home, err := postgresHome()
	if err != nil {
		return nil, err
	}
	return programsOf(home, PostgresClients)
}

// postgresHome is the folder of the newest PostgreSQL here.
func postgresHome() (string, error) {
	homes, err := filepath.Glob("/usr/lib/postgresql/*")
	if err != nil {
		return "", err
	}
	if len(homes) == 0 {
		return "", fmt.Errorf("PostgreSQL in /usr/lib/postgresql: %w; Debian's package postgresql has it", fs.ErrNotExist)
	}
	slices.Sort(homes)
	return homes[len(homes)-1], nil
}

// programsOf are programs, each also in /bin, and what they are linked to.
func programsOf(home string, names []string) (files []File, err error) {
	var programs []string
	for _, name := range names {
		path := filepath.Join(home, "bin", name)
		programs = append(programs, path)
		files = append(files, File{Path: path, From: path, Mode: 0o755}, File{Path: "/bin/" + name, Link: path})
	}
	libraries, err := libraries(programs)
	for _, path := range libraries {
		files = append(files, File{Path: path, From: path, Mode: 0o755})
	}
	return files, err
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
