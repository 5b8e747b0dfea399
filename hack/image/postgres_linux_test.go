package image

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Each program starts in a root that holds nothing but the files of the image.
func TestPostgres(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root runs programs in a root of their own")
	}
	for name, c := range map[string]struct {
		files    func() ([]File, error)
		programs []string
	}{
		"server":  {func() ([]File, error) { return Postgres(t.TempDir()) }, append([]string{"postgres", "initdb", "psql"}, PostgresClients...)},
		"clients": {PostgresClient, PostgresClients},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := c.files()
			if errors.Is(err, fs.ErrNotExist) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			for _, f := range files {
				if err := put(root, f); err != nil {
					t.Fatal(err)
				}
			}
			for _, program := range c.programs {
				cmd := exec.Command("/bin/"+program, "--version")
				cmd.Dir, cmd.Env = "/", []string{}
				cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 999, Gid: 999}}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s --version: %v: %s", program, err, out)
				}
			}
		})
	}
}

// put puts a file where an image would have it.
func put(root string, f File) error {
	path := filepath.Join(root, f.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if f.Link != "" {
		return os.Symlink(f.Link, path)
	}
	from, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, f.Mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
