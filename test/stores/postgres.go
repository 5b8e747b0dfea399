package stores

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/broletto/broletto/test/cluster"
)

// Postgres is a PostgreSQL server.
type Postgres struct {
	Addr string
	// Folder has the credentials of its superuser, as the operator reads them.
	Folder string
}

const (
	superuser = "broletto"
	password  = "segreto d'archivio"
)

// NewPostgres starts a server that ends with the test. PostgreSQL runs as nobody where the test runs as root: it refuses to be root.
func NewPostgres(t *testing.T) *Postgres {
	t.Helper()
	bin := postgresFolder(t)
	root, err := os.MkdirTemp("", "postgres-*") // not in a folder of the test, which another user may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	data, secret := filepath.Join(root, "data"), filepath.Join(root, "password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = nobody(t)
		for _, path := range []string{root, secret} {
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root, "LC_ALL=C"}
	prepare := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"),
		"--pgdata", data, "--username", superuser, "--auth", "scram-sha-256", "--pwfile", secret, "--encoding", "UTF8", "--no-locale", "--no-sync")
	prepare.Dir, prepare.Env, prepare.SysProcAttr = root, env, attributes(uid, gid)
	if out, err := prepare.CombinedOutput(); err != nil {
		t.Fatalf("making a database: %v\n%s", err, out)
	}
	addr := cluster.FreeAddress(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &Postgres{Addr: addr, Folder: Folder(t, map[string]string{"username": superuser, "password": password})}
	run(t, process{
		path: filepath.Join(bin, "postgres"), dir: root, env: env, uid: uid, gid: gid,
		args: []string{"-D", data, "-p", port, "-c", "listen_addresses=" + host, "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=32MB"},
		serves: func() error {
			c, err := p.connect(t.Context(), "postgres")
			if err != nil {
				return err
			}
			return c.Close(t.Context())
		},
	})
	return p
}

// Store is the address of the state store in a database, reached by some address.
func (p *Postgres) Store(addr, database string) *url.URL {
	return &url.URL{Scheme: "postgres", Host: addr, Path: "/" + database, RawQuery: "sslmode=disable"}
}

// Do runs statements as superuser.
func (p *Postgres) Do(t *testing.T, database string, statements ...string) {
	t.Helper()
	c, err := p.connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	for _, statement := range statements {
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Env are the variables by which PostgreSQL's own programs, which it puts on PATH, find a database as superuser.
func (p *Postgres) Env(t *testing.T, database string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + postgresFolder(t) + ":" + os.Getenv("PATH"), "PGHOST=" + host, "PGPORT=" + port, "PGDATABASE=" + database, "PGUSER=" + superuser, "PGPASSWORD=" + password,
	}
}

// Ask runs a query as superuser, and returns the text that it answers.
func (p *Postgres) Ask(t *testing.T, database, query string) (text string) {
	t.Helper()
	c, err := p.connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	if err := c.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}

func (p *Postgres) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	u := p.Store(p.Addr, database)
	u.User = url.UserPassword(superuser, password)
	return pgx.Connect(ctx, u.String())
}

// postgresFolder is that of PostgreSQL's programs, which Debian does not have on PATH.
func postgresFolder(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if os.Getenv("CI") != "" {
		t.Fatal("PostgreSQL is not installed: run hack/packages")
	}
	t.Skip("PostgreSQL is not installed: run hack/packages, or install it with your package manager")
	return ""
}

func nobody(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		t.Fatal(err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}
