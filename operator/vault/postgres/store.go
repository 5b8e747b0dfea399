package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/broletto/broletto/operator/vault"
)

// Files of a folder of credentials. Both are optional: the address may name the user, and the database may know it by a certificate.
const (
	fileUser     = "username"
	filePassword = "password"
)

const example = "postgres://broletto@db.example.org/broletto?sslmode=verify-full"

// A version is random: a row that went and came again has never had it.
const create = `CREATE TABLE IF NOT EXISTS broletto_vault (
	name text COLLATE "C" PRIMARY KEY,
	version text NOT NULL,
	data bytea NOT NULL
)`

// store is a vault.Store.
type store struct{ pool *pgxpool.Pool }

// New is a store in the database at postgres://user@host/database, with the credentials in a folder, if any. It connects to nothing yet; the
// first use makes the table where there is none.
func New(u *url.URL, folder string) (*vault.Remote, error) {
	config, err := configure(u, folder)
	if err != nil {
		return nil, err
	}
	name := "postgres://" + u.Host + u.Path
	pool, err := pgxpool.NewWithConfig(context.Background(), config) // dials when it is used
	if err != nil {
		return nil, fmt.Errorf("the state store %s: %w", name, err)
	}
	s := &store{pool}
	return vault.NewRemote(name, func(ctx context.Context) (vault.Store, error) { return s, s.prepare(ctx) }), nil
}

func configure(u *url.URL, folder string) (*pgxpool.Config, error) {
	if _, given := u.User.Password(); given || u.Query().Has("password") {
		return nil, fmt.Errorf("the state store postgres://%s%s: a password does not belong into an address, which others may read: write it as %s, "+
			"and the password into the file %s of the folder of credentials", u.Host, u.Path, example, filePassword)
	}
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("the state store postgres://%s%s: %w: write it as %s", u.Host, u.Path, err, example)
	}
	// What is told as written is on disk, whatever the database does by default, and on the server that takes writes.
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	config.ConnConfig.RuntimeParams["application_name"] = "broletto"
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		return errors.Join(read(folder, fileUser, &c.User), read(folder, filePassword, &c.Password))
	}
	return config, nil
}

// read reads credentials at each connect: whoever changes the mounted Secret need not restart the operator.
func read(folder, file string, into *string) error {
	if folder == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(folder, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading credentials: %w", err)
	}
	*into = strings.TrimRight(string(text), "\r\n")
	return nil
}

// prepare makes the table where there is none: who may only use it need not be able to make one.
func (s *store) prepare(ctx context.Context) error {
	exists, err := s.exists(ctx)
	if err != nil || exists {
		return err
	}
	if _, err := s.pool.Exec(ctx, create); err != nil {
		if exists, _ := s.exists(ctx); exists { // another replica has made it at this moment
			return nil
		}
		return fmt.Errorf("making table broletto_vault: %w", err)
	}
	return nil
}

func (s *store) exists(ctx context.Context) (exists bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT to_regclass('broletto_vault') IS NOT NULL`).Scan(&exists)
	return exists, err
}

// Read implements vault.Store.
func (s *store) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT data, version FROM broletto_vault WHERE name = $1`, name).Scan(&data, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", vault.ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	return data, version, nil
}

// Write implements vault.Store. One statement compares and sets; who comes second waits for the first, then finds another version.
func (s *store) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	newVersion = rand.Text()
	var done pgconn.CommandTag
	if data == nil {
		data = []byte{} // no bytes, rather than NULL
	}
	if version == "" {
		done, err = s.pool.Exec(ctx, `INSERT INTO broletto_vault (name, version, data) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`,
			name, newVersion, data)
	} else {
		done, err = s.pool.Exec(ctx, `UPDATE broletto_vault SET version = $2, data = $3 WHERE name = $1 AND version = $4`,
			name, newVersion, data, version)
	}
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	if done.RowsAffected() != 1 {
		return "", vault.ErrConflict
	}
	return newVersion, nil
}

// Delete implements vault.Store.
func (s *store) Delete(ctx context.Context, name string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM broletto_vault WHERE name = $1`, name); err != nil {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// List implements vault.Store.
func (s *store) List(ctx context.Context, prefix string) (names []string, err error) {
	rows, _ := s.pool.Query(ctx, `SELECT name FROM broletto_vault WHERE starts_with(name, $1) ORDER BY name`, prefix) // its error is that of the rows
	if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	return names, nil
}
