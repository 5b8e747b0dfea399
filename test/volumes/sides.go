package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/move"
)

// cost is what one step took.
type cost struct {
	Seconds, CPU float64
	OnDisk       float64 // seconds until all that was written is on the disk: the mover waits for that by itself when it restores
	Peak         int64   // resident, of all its programs, in bytes
	Requests     int     // of the store; 0 where it is a folder
	Repository   int64   // bytes afterwards
	MaxGets      int64   // of one pack, where the program tells
}

// side backs up and restores in one way.
type side interface {
	name() string
	prepare(ctx context.Context, at place) error
	backup(ctx context.Context, at place, tree string) (cost, error)
	restore(ctx context.Context, at place, to string) (cost, error)
}

// place is where a side keeps its repository.
type place struct {
	name     string
	folder   string // where it really is
	endpoint string // empty: the folder itself
	prefix   string
}

// measured runs a pipeline of programs, and adds up what they took.
func measured(commands ...*exec.Cmd) (c cost, err error) {
	var said bytes.Buffer
	for i, cmd := range commands {
		if cmd.Stderr == nil {
			cmd.Stderr = &said
		}
		if i > 0 {
			out, err := commands[i-1].StdoutPipe()
			if err != nil {
				return c, err
			}
			cmd.Stdin = out
		}
	}
	begun := time.Now()
	for _, cmd := range commands {
		if err := cmd.Start(); err != nil {
			return c, err
		}
	}
	for _, cmd := range slices.Backward(commands) { // who reads ends after who writes
		if err := cmd.Wait(); err != nil {
			return c, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, &said)
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		c.CPU += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		c.Peak += usage.Maxrss << 10
	}
	c.Seconds = time.Since(begun).Seconds()
	return c, nil
}

// sync waits until everything is on the disk that a folder is on.
func (c *cost) sync(dir string) error {
	begun := time.Now()
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	c.OnDisk = c.Seconds + time.Since(begun).Seconds()
	return err
}

// broletto is the mover.
type broletto struct {
	program, work string
	profile       move.Profile
	snapshot      string
}

func (*broletto) name() string { return "broletto-mover" }

func (*broletto) prepare(context.Context, place) error { return nil }

func (b *broletto) backup(ctx context.Context, at place, tree string) (cost, error) {
	r, c, err := b.run(ctx, at, move.Order{Operation: move.Backup, Path: tree, Profile: b.profile})
	b.snapshot = r.Snapshot
	return c, err
}

func (b *broletto) restore(ctx context.Context, at place, to string) (cost, error) {
	_, c, err := b.run(ctx, at, move.Order{Operation: move.Restore, Path: to, Snapshots: []string{b.snapshot}})
	return c, err
}

func (b *broletto) run(ctx context.Context, at place, o move.Order) (r move.Report, c cost, err error) {
	o.Password, o.Backup, o.Source = "una password assai lunga", "prova", move.Source{Tenant: "lugano", Workspace: "sportello", Volume: "dati"}
	o.Config, o.Cache, o.Store = filepath.Join(b.work, "config"), filepath.Join(b.work, "cache"), move.Store{Folder: at.folder}
	if at.endpoint != "" {
		o.Store = move.Store{Endpoint: at.endpoint, Region: "us-east-1", Bucket: bucket, Prefix: at.prefix + "/", AccessKey: accessKey, SecretKey: secretKey}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return r, c, err
	}
	order, report := filepath.Join(o.Config, "order.json"), filepath.Join(b.work, "report")
	if err := os.MkdirAll(o.Config, 0o700); err != nil {
		return r, c, err
	}
	if err := os.WriteFile(order, text, 0o600); err != nil {
		return r, c, err
	}
	if c, err = measured(exec.CommandContext(ctx, b.program, "-order", order, "-report", report)); err != nil {
		return r, c, err
	}
	if text, err = os.ReadFile(report); err == nil {
		err = json.Unmarshal(text, &r)
	}
	c.MaxGets = r.Requests.MaxGets
	return r, c, err
}

// restic is restic, as it is by default.
type restic struct{ program, work string }

func (restic) name() string { return "restic" }

func (r restic) command(ctx context.Context, at place, args ...string) *exec.Cmd {
	repository := at.folder
	if at.endpoint != "" {
		repository = "s3:" + at.endpoint + "/" + bucket + "/" + at.prefix
	}
	cmd := exec.CommandContext(ctx, r.program, append([]string{"-r", repository, "--cache-dir", filepath.Join(r.work, "restic-cache-"+at.prefix), "--quiet"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD=una password assai lunga", "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_DEFAULT_REGION=us-east-1")
	return cmd
}

func (r restic) prepare(ctx context.Context, at place) error {
	_, err := measured(r.command(ctx, at, "init"))
	return err
}

func (r restic) backup(ctx context.Context, at place, tree string) (cost, error) {
	cmd := r.command(ctx, at, "backup", ".")
	cmd.Dir = tree
	return measured(cmd)
}

func (r restic) restore(ctx context.Context, at place, to string) (cost, error) {
	return measured(r.command(ctx, at, "restore", "latest", "--target", to))
}

// archive is tar, zstd -1 and age with a key: no increments, and folders only.
type archive struct {
	age, key, recipient string
	n                   int
}

func (*archive) name() string { return "tar | zstd -1 | age" }

func (*archive) prepare(_ context.Context, at place) error { return os.MkdirAll(at.folder, 0o700) }

func (a *archive) file(at place) string {
	return filepath.Join(at.folder, fmt.Sprintf("%d.tar.zst.age", a.n))
}

func (a *archive) backup(ctx context.Context, at place, tree string) (cost, error) {
	a.n++
	return measured(exec.CommandContext(ctx, "tar", "-C", tree, "-cf", "-", "."), exec.CommandContext(ctx, "zstd", "-1", "-q", "-c"),
		exec.CommandContext(ctx, a.age, "-r", a.recipient, "-o", a.file(at)))
}

func (a *archive) restore(ctx context.Context, at place, to string) (cost, error) {
	return measured(exec.CommandContext(ctx, a.age, "-d", "-i", a.key, a.file(at)), exec.CommandContext(ctx, "zstd", "-d", "-q", "-c"),
		exec.CommandContext(ctx, "tar", "-C", to, "-xf", "-"))
}
