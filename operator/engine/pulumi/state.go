package pulumi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/sig"

	"github.com/broletto/broletto/operator/engine"
)

// export is the engine's exchange format, which Work.State has.
type export struct {
	Version    int             `json:"version"`
	Features   []string        `json:"features,omitempty"`
	Deployment json.RawMessage `json:"deployment"`
}

// checkpoint is a stack in the engine's backend of files.
type checkpoint struct {
	Version    int      `json:"version"`
	Features   []string `json:"features,omitempty"`
	Checkpoint struct {
		Stack  string          `json:"stack"`
		Latest json.RawMessage `json:"latest,omitempty"`
	} `json:"checkpoint"`
}

// state is what we read of a stack's state.
type state struct {
	export
	digest string // of the file; empty where there is none

	Resources []resource                 `json:"resources"`
	Pending   []pending                  `json:"pending_operations"`
	whole     map[string]json.RawMessage // the deployment
}

type resource struct {
	URN     string          `json:"urn"`
	Type    string          `json:"type"`
	Delete  bool            `json:"delete"`
	Inputs  json.RawMessage `json:"inputs"`
	Outputs json.RawMessage `json:"outputs"`
}

type pending struct {
	Resource resource `json:"resource"`
	Type     string   `json:"type"`
}

const (
	stackType      = "pulumi:pulumi:Stack"
	providerPrefix = "pulumi:providers:"
)

func readState(path string) (*state, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := errors.Join(json.Unmarshal(text, &s.export), json.Unmarshal(s.Deployment, s), json.Unmarshal(s.Deployment, &s.whole)); err != nil {
		return nil, fmt.Errorf("the state is not one of pulumi: %w", err)
	}
	sum := sha256.Sum256(text)
	s.digest = hex.EncodeToString(sum[:])
	return s, nil
}

// tellPending says what a killed engine was about, and forgets it: else the engine would speak of it for ever. It cannot know.
func (s *state) tellPending(log io.Writer) {
	for _, p := range s.Pending {
		_, _ = fmt.Fprintf(log, "the run before was cut short while it was %s %s: look whether that was done, and undo or import it\n",
			p.Type, p.Resource.URN)
	}
	delete(s.whole, "pending_operations")
}

// spread makes the backend's files in dir, and returns the path of the stack's.
func (s *state) spread(dir, project string) (string, error) {
	bookkeeping := filepath.Join(dir, ".pulumi")
	if err := os.RemoveAll(bookkeeping); err != nil {
		return "", err
	}
	path := filepath.Join(bookkeeping, "stacks", project, stackName+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if err := write(filepath.Join(bookkeeping, "meta.yaml"), []byte("version: 1\n")); err != nil { // stacks are in folders of projects
		return "", err
	}
	c := checkpoint{Version: 3}
	c.Checkpoint.Stack = "organization/" + project + "/" + stackName
	if s.whole != nil {
		c.Version, c.Features = s.Version, s.Features
		latest, err := json.Marshal(s.whole)
		if err != nil {
			return "", err
		}
		c.Checkpoint.Latest = latest
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return path, write(path, text)
}

// outputs are the stack's, in clear.
func (s *state) outputs(ctx context.Context, keys *keyring) (map[string]json.RawMessage, error) {
	outputs := map[string]json.RawMessage{}
	for _, r := range s.Resources {
		if r.Type != stackType || len(r.Outputs) == 0 {
			continue
		}
		clear, err := keys.open(ctx, r.Outputs)
		if err != nil {
			return nil, fmt.Errorf("reading the outputs: %w", err)
		}
		if err := json.Unmarshal(clear, &outputs); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// follower copies the backend's state to Work.State.
type follower struct {
	from string
	w    engine.Work
	last []byte
	stop chan struct{}
	done chan error
}

const followEvery = 200 * time.Millisecond

func follow(from string, w engine.Work) *follower {
	f := &follower{from: from, w: w, stop: make(chan struct{}), done: make(chan error, 1)}
	f.last, _ = os.ReadFile(from) // what it begins with is in Work.State
	go func() {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				f.done <- f.copy()
				return
			case <-tick.C:
				_ = f.copy() // once more at the end, then it counts
			}
		}
	}()
	return f
}

func (f *follower) end() error {
	close(f.stop)
	return <-f.done
}

func (f *follower) copy() error {
	text, err := os.ReadFile(f.from) // the engine replaces it as a whole
	if err != nil {
		return err
	}
	if bytes.Equal(text, f.last) {
		return nil
	}
	var c checkpoint
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	if len(c.Checkpoint.Latest) == 0 {
		return nil
	}
	exported, err := json.Marshal(export{Version: c.Version, Features: c.Features, Deployment: c.Checkpoint.Latest})
	if err != nil {
		return err
	}
	// Whoever reads it sees the one or the other.
	temporary := filepath.Join(f.w.Dir, "state.new")
	if err := write(temporary, exported); err != nil {
		return err
	}
	if err := os.Rename(temporary, f.w.State); err != nil { // another file system
		if err := write(f.w.State, exported); err != nil {
			return err
		}
	}
	f.last = text
	return nil
}

// keyring opens what the engine has sealed with a passphrase. It makes the key once, which takes long.
type keyring struct {
	passphrase string
	crypter    config.Crypter
}

// open is a value with its secrets in clear, and the signs of special values as they are.
func (k *keyring) open(ctx context.Context, sealed json.RawMessage) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(sealed))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	clear, err := k.walk(ctx, v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(clear)
}

func (k *keyring) walk(ctx context.Context, v any) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = k.walk(ctx, v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if v[sig.Key] == sig.Secret {
			return k.secret(ctx, v)
		}
		for name := range v {
			if v[name], err = k.walk(ctx, v[name]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (k *keyring) secret(ctx context.Context, v map[string]any) (any, error) {
	text, open := v["plaintext"].(string)
	if !open {
		sealed, _ := v["ciphertext"].(string)
		if k.crypter == nil {
			k.crypter = config.NewSymmetricCrypterFromPassphrase(k.passphrase, saltOf(k.passphrase))
		}
		var err error
		if text, err = k.crypter.DecryptValue(ctx, sealed); err != nil {
			return nil, fmt.Errorf("opening a secret: %w", err)
		}
	}
	clear, err := k.open(ctx, json.RawMessage(text))
	if err != nil {
		return nil, errors.New("a secret is no JSON")
	}
	return clear, nil
}

// packageOf is the package of a type's token.
func packageOf(token string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(token, providerPrefix), ":")
	return name
}

// typeOf is the type in a URN, without those of its parents.
func typeOf(urn string) string {
	parts := strings.SplitN(urn, "::", 4)
	if len(parts) < 4 {
		return ""
	}
	types := strings.Split(parts[2], "$")
	return types[len(types)-1]
}
