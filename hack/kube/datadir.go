package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dataDir is the folder of one control plane, locked for as long as any of its processes lives.
type dataDir struct {
	path      string
	temporary bool
	held      *os.File
	state     state
}

// state is what state.json says about a data folder.
type state struct {
	Kubernetes string `json:"kubernetes"` // minor release that wrote it, for example 1.36
	Etcd       string `json:"etcd"`
	Port       int    `json:"port"` // of the API server, so that kubeconfigs stay valid over a restart
}

// lockPatience is how long the processes of a predecessor that was just killed may take to disappear.
const lockPatience = 2 * time.Second

// openDataDir locks the folder at path, or a new temporary one.
func openDataDir(ctx context.Context, path string) (*dataDir, error) {
	d := &dataDir{path: path}
	var err error
	if path == "" {
		d.temporary = true
		d.path, err = os.MkdirTemp("", "broletto-kube-")
	} else if d.path, err = filepath.Abs(path); err == nil {
		err = os.MkdirAll(d.path, 0o700)
	}
	if err != nil {
		return nil, &Error{Object: "data folder " + path, Cause: err, WayOut: "choose a folder that you may write"}
	}
	for _, step := range []func(context.Context) error{d.checkOwn, d.lock, d.load, d.prepare} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// checkOwn refuses a folder with somebody else's files, before anything is written there. Without a state file it may
// hold only what we make before that.
func (d *dataDir) checkOwn(context.Context) error {
	if exists(d.file(stateName)) {
		return nil
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{lockName, "pki", "logs"}, e.Name()) {
			return &Error{
				Object: "data folder " + d.path,
				Cause:  fmt.Errorf("%w: it holds %s", ErrForeignDir, e.Name()),
				WayOut: "choose an empty or a new folder",
			}
		}
	}
	return nil
}

const (
	lockName  = "lock"
	stateName = "state.json"
)

func (d *dataDir) lock(ctx context.Context) error {
	path := filepath.Join(d.path, lockName)
	patience, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	held, err := lock(patience, path, func() {})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		owner, _ := os.ReadFile(path)
		return &Error{
			Object: "data folder " + d.path,
			Cause:  fmt.Errorf("%w, started by process %s", ErrDirInUse, strings.TrimSpace(string(owner))),
			WayOut: "stop that one, or its " + strings.Join(serverNames, ", ") + " if it was killed, or choose another folder",
		}
	}
	if err != nil {
		return err
	}
	d.held = held
	if err := held.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintln(held, os.Getpid())
	return err
}

func (d *dataDir) load(context.Context) error {
	data, err := os.ReadFile(d.file(stateName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &d.state); err != nil {
		return &Error{Object: d.file(stateName), Cause: err, WayOut: "remove the folder"}
	}
	return nil
}

// prepare makes the folders. The processes create what they write there with permissions of their own, so the folder
// itself keeps others out.
func (d *dataDir) prepare(context.Context) error {
	return errors.Join(
		os.Chmod(d.path, 0o700),
		os.MkdirAll(d.file("pki"), 0o700),
		os.MkdirAll(d.file("logs"), 0o700),
		requireSpace(d.path, dataSpace, "free some, or choose a data folder on another disk"),
	)
}

// claim records that these versions write the folder from now on, unless others did before.
func (d *dataDir) claim(kubernetes, etcd string) error {
	now := state{Kubernetes: minorOf(kubernetes), Etcd: minorOf(etcd), Port: d.state.Port}
	was := d.state
	if was.Kubernetes != "" && (was.Kubernetes != now.Kubernetes || was.Etcd != now.Etcd) {
		return &Error{
			Object: "data folder " + d.path,
			Cause: fmt.Errorf("%w: Kubernetes %s with etcd %s, and this is %s with %s",
				ErrOtherDir, was.Kubernetes, was.Etcd, now.Kubernetes, now.Etcd),
			WayOut: "remove it to begin anew, or choose another folder",
		}
	}
	d.state = now
	return d.save()
}

func (d *dataDir) save() error {
	data, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	return writeSecret(d.file(stateName), append(data, '\n'))
}

// file is the path of something in the folder.
func (d *dataDir) file(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

// close gives the folder up, and removes it if it was only lent.
func (d *dataDir) close() error {
	var err error
	if d.temporary {
		err = os.RemoveAll(d.path)
	}
	if d.held != nil {
		err = errors.Join(err, d.held.Close())
	}
	return err
}
