package pulumi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/operator/engine"
)

// project is the name of the code's project.
func project(code string) (string, error) {
	text, err := os.ReadFile(filepath.Join(code, "Pulumi.yaml"))
	if err != nil {
		return "", &engine.Invalid{Err: fmt.Errorf("a program of Pulumi has its project in Pulumi.yaml: %w", err)}
	}
	var p struct {
		Name string `json:"name"`
	}
	if err := yaml.Unmarshal(text, &p); err != nil {
		return "", &engine.Invalid{Err: fmt.Errorf("reading Pulumi.yaml: %w", err)}
	}
	// It becomes part of a path.
	if p.Name == "" || strings.ContainsFunc(p.Name, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r)
	}) || strings.Trim(p.Name, ".") == "" {
		return "", &engine.Invalid{Err: fmt.Errorf("name %q in Pulumi.yaml: use letters, digits, dots, dashes and underscores", p.Name)}
	}
	return p.Name, nil
}

// furnish writes passphrase and inputs. Inputs are the stack's configuration, in a file outside the code: on a command line, secrets would
// show in the list of processes.
func furnish(ctx context.Context, w engine.Work) error {
	for _, dir := range []string{homeFolder, tempFolder, backendFolder} {
		if err := os.MkdirAll(filepath.Join(w.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	if err := write(filepath.Join(w.Dir, passphraseFile), []byte(w.Passphrase)); err != nil {
		return err
	}
	name, err := project(w.Code)
	if err != nil {
		return err
	}
	salt := saltOf(w.Passphrase)
	crypter := config.NewSymmetricCrypterFromPassphrase(w.Passphrase, salt)
	probe, err := crypter.EncryptValue(ctx, "pulumi") // by which the engine knows that the passphrase is right
	if err != nil {
		return err
	}
	values := map[string]any{}
	for input, value := range w.Inputs {
		key := input
		if !strings.Contains(key, ":") { // else it is a provider's
			key = name + ":" + input
		}
		if values[key], err = setting(ctx, crypter, value, slices.Contains(w.Secret, input)); err != nil {
			return fmt.Errorf("input %s: %w", input, err)
		}
	}
	text, err := json.Marshal(map[string]any{ // JSON is YAML
		"encryptionsalt": fmt.Sprintf("v1:%s:%s", base64.StdEncoding.EncodeToString(salt), probe), "config": values,
	})
	if err != nil {
		return err
	}
	return write(filepath.Join(w.Dir, configFile), text)
}

// setting is an input's value as the configuration has it. A secret is a text: of what is none, its JSON, which programs are used to.
func setting(ctx context.Context, crypter config.Crypter, value json.RawMessage, secret bool) (any, error) {
	if !secret {
		if !json.Valid(value) {
			return nil, errors.New("it is no JSON")
		}
		return value, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return nil, errors.New("it is no JSON")
		}
		text = compact.String()
	}
	sealed, err := crypter.EncryptValue(ctx, text)
	return map[string]string{"secure": sealed}, err
}

// saltOf is the same each time, so that one key opens all that was sealed in a stack's life. A salt is for passphrases that two
// may have; these are random and a stack's own.
func saltOf(passphrase string) []byte {
	sum := sha256.Sum256([]byte("broletto salt 1\n" + passphrase))
	return sum[:8]
}
