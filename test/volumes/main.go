// Command volumes measures what backups of volumes cost: Broletto's mover beside restic, and beside tar, zstd and age, on the same tree, in one
// run, into a folder and into an S3 store without and with latency. It asserts nothing about time: it fails only when something that is
// restored is not what was backed up. docs/volumes.md says how to read what it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/move"
)

// options say what is measured.
type options struct {
	alone    bool  // the mover, and nothing beside it
	size     int64 // of the tree, in bytes
	small    int   // files of the second tree; 0: none
	latency  time.Duration
	dir      string
	profile  string
	progress io.Writer
}

func main() { os.Exit(program()) }

func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{progress: os.Stderr}
	mebibytes := flag.Int64("size", whole>>20, "size of the tree in MiB")
	flag.IntVar(&o.small, "small", 200_000, "number of files of the tree of small ones; 0: none")
	flag.DurationVar(&o.latency, "latency", 20*time.Millisecond, "latency of the third store")
	flag.StringVar(&o.dir, "dir", "", "folder to work in, on the disk that is measured, with 35 GB free; default: a temporary one")
	flag.StringVar(&o.profile, "profile", string(move.General), "the mover's profile: General or Database")
	flag.BoolVar(&o.alone, "alone", false, "measure the mover alone")
	flag.Parse()
	o.size = *mebibytes << 20
	r, err := measure(ctx, o)
	if err == nil {
		err = r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "volumes:", err)
		return 1
	}
	return 0
}

// bench is one run.
type bench struct {
	options
	dir     string
	gateway *gateway
	sides   []side
	report  report
}

// measure makes everything, measures and takes it away.
func measure(ctx context.Context, o options) (r *report, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp(o.dir, "volumes-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, report: report{Size: o.size, Small: o.small, Latency: o.latency}}
	if b.sides, err = b.programs(ctx); err != nil {
		return nil, err
	}
	if b.gateway, err = startGateway(ctx, dir, o.progress); err != nil {
		return nil, err
	}
	defer b.gateway.stop()
	slow, err := delay(ctx, b.gateway.addr, o.latency)
	if err != nil {
		return nil, err
	}
	s3 := filepath.Join(b.gateway.root, bucket)
	for i, at := range []place{
		{name: "folder", folder: filepath.Join(dir, "repositories")},
		{name: "S3", folder: s3, endpoint: "http://" + b.gateway.addr},
		{name: "S3, " + o.latency.String(), folder: s3, endpoint: "http://" + slow},
	} {
		at.prefix = fmt.Sprintf("r%d", i)
		if err := b.days(ctx, at, i); err != nil {
			return nil, fmt.Errorf("%s: %w", at.name, err)
		}
	}
	if o.small > 0 {
		err = b.many(ctx, place{name: "small files", folder: filepath.Join(dir, "repositories"), prefix: "small"})
	}
	return &b.report, err
}

// programs builds and finds all sides.
func (b *bench) programs(ctx context.Context) ([]side, error) {
	mover := filepath.Join(b.dir, "broletto-mover")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", mover, "github.com/broletto/broletto/operator/cmd/broletto-mover")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the mover: %w\n%s", err, out)
	}
	all := []side{&broletto{program: mover, work: b.dir, profile: move.Profile(b.profile)}}
	if b.alone {
		return all, nil
	}
	built, err := kube.BuildBackups(ctx, b.progress)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"tar", "zstd"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w: run hack/packages, or install it with your package manager", err)
		}
	}
	key := filepath.Join(b.dir, "key")
	recipient, err := newKey(key)
	if err != nil {
		return nil, err
	}
	return append(all,
		restic{program: filepath.Join(built, "restic"), work: b.dir},
		&archive{age: filepath.Join(built, "age"), key: key, recipient: recipient},
	), nil
}

// days has each side back up a new tree, back up the same a day later, and restore that, in turn, another one first at each place.
func (b *bench) days(ctx context.Context, at place, turn int) error {
	t := tree{dir: filepath.Join(b.dir, "tree-"+at.prefix), scale: float64(b.size) / whole}
	if err := t.make(); err != nil {
		return err
	}
	sides := slices.Concat(b.sides[turn%len(b.sides):], b.sides[:turn%len(b.sides)])
	each := func(step string, do func(side, place) (cost, error)) error {
		for _, s := range sides {
			if _, is := s.(*archive); is && at.endpoint != "" {
				continue
			}
			if err := b.step(ctx, at, s, step, do); err != nil {
				return err
			}
		}
		return nil
	}
	backup := func(s side, at place) (cost, error) { return s.backup(ctx, at, t.dir) }
	if err := each("prepare", func(s side, at place) (cost, error) { return cost{}, s.prepare(ctx, at) }); err != nil {
		return err
	}
	if err := each("first", backup); err != nil {
		return err
	}
	if err := t.change(); err != nil {
		return err
	}
	if err := each("incremental", backup); err != nil {
		return err
	}
	want, err := sum(t.dir)
	if err != nil {
		return err
	}
	return each("restore", func(s side, at place) (cost, error) { return b.restored(ctx, s, at, want) })
}

// restored restores into a new folder and compares. The folder stays until the end: ext4 passes over every inode that was deleted within the last
// minutes when it looks for a free one, and who restores next would pay for that.
func (b *bench) restored(ctx context.Context, s side, at place, want string) (cost, error) {
	back := filepath.Join(b.dir, "back-"+at.prefix)
	if err := os.Mkdir(back, 0o700); err != nil {
		return cost{}, err
	}
	c, err := s.restore(ctx, at, back)
	if err == nil {
		err = c.sync(back)
	}
	if err != nil {
		return c, err
	}
	got, err := sum(back)
	if err == nil && got != want {
		err = fmt.Errorf("%s restores something else than was backed up", s.name())
	}
	return c, err
}

// many has each side back up and restore many small files.
func (b *bench) many(ctx context.Context, at place) error {
	dir := filepath.Join(b.dir, "tree-"+at.prefix)
	if err := small(dir, b.small); err != nil {
		return err
	}
	want, err := sum(dir)
	if err != nil {
		return err
	}
	for _, s := range b.sides {
		for _, step := range []struct {
			name string
			do   func(side, place) (cost, error)
		}{
			{"prepare", func(s side, at place) (cost, error) { return cost{}, s.prepare(ctx, at) }},
			{"first", func(s side, at place) (cost, error) { return s.backup(ctx, at, dir) }},
			{"restore", func(s side, at place) (cost, error) { return b.restored(ctx, s, at, want) }},
		} {
			if err := b.step(ctx, at, s, step.name, step.do); err != nil {
				return err
			}
		}
	}
	return nil
}

// step measures one step of one side, with nothing left to be written to the disk before.
func (b *bench) step(ctx context.Context, at place, s side, step string, do func(side, place) (cost, error)) error {
	at.prefix += "-" + strings.Fields(s.name())[0]
	at.folder = filepath.Join(at.folder, at.prefix)
	if err := os.MkdirAll(filepath.Dir(at.folder), 0o700); err != nil {
		return err
	}
	if at.endpoint == "" {
		if err := os.MkdirAll(at.folder, 0o700); err != nil {
			return err
		}
	}
	syscall.Sync()
	asked := b.gateway.requests()
	c, err := do(s, at)
	if err == nil && c.OnDisk == 0 {
		err = c.sync(b.dir)
	}
	if err != nil {
		return err
	}
	if step == "prepare" {
		return ctx.Err()
	}
	if at.endpoint != "" {
		c.Requests = b.gateway.requests() - asked
	}
	c.Repository = size(at.folder)
	fmt.Fprintf(b.progress, "%s, %s, %s: %.1f s\n", at.name, step, s.name(), c.Seconds)
	b.report.Rows = append(b.report.Rows, row{at.name, step, s.name(), c})
	return ctx.Err()
}
