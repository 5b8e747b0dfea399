package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// fromAssets takes binaries from a folder as setup-envtest makes it. That has no kube-controller-manager, without
// which there is no quota status, no garbage collection and no end to a namespace's deletion, so what is missing
// is built. All come together in a folder of links.
func (b builder) fromAssets(ctx context.Context, assets string, names []string) (string, error) {
	assets, err := filepath.Abs(assets)
	if err != nil {
		return "", err
	}
	var missing []string
	for _, name := range names {
		if _, _, err := find(b.modules, name); err != nil {
			return "", err
		}
		if !exists(filepath.Join(assets, name)) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return assets, nil
	}
	if err := b.checkAssets(ctx, assets, missing); err != nil {
		return "", err
	}
	b.progress.say("%s has no %s: building it", assetsVariable, strings.Join(missing, ", "))
	built, err := b.all(ctx, missing)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(assets))
	links := filepath.Join(built, "with-assets-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(links, 0o755); err != nil {
		return "", err
	}
	for _, name := range names {
		from := assets
		if slices.Contains(missing, name) {
			from = built
		}
		if err := link(filepath.Join(from, name), filepath.Join(links, name)); err != nil {
			return "", err
		}
	}
	return links, nil
}

// checkAssets refuses a folder that we cannot complete: etcd and kube-apiserver are what it is for, and another minor
// release of the API server would meet a controller manager newer than itself, which Kubernetes does not support.
func (b builder) checkAssets(ctx context.Context, assets string, missing []string) error {
	wayOut := "put the missing ones there, or unset " + assetsVariable + " to build all"
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if slices.Contains(missing, name) || !exists(filepath.Join(assets, name)) {
			return &Error{
				Object: assetsVariable + "=" + assets,
				Cause:  fmt.Errorf("no %s there", name),
				WayOut: wayOut,
			}
		}
	}
	has, err := versionOf(ctx, filepath.Join(assets, "kube-apiserver"))
	if err != nil {
		return err
	}
	m, _, _ := find(b.modules, "kube-apiserver")
	if minorOf(has) != minorOf(m.version()) {
		return &Error{
			Object: assetsVariable + "=" + assets,
			Cause: fmt.Errorf("no %s there, and %s would not fit its kube-apiserver %s",
				strings.Join(missing, ", "), m.version(), has),
			WayOut: wayOut,
		}
	}
	return nil
}

var versionPattern = regexp.MustCompile(`v?\d+\.\d+\.\d+`)

// versionOf asks a binary, in the form v1.36.3.
func versionOf(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	found := versionPattern.FindString(string(out))
	if err == nil && found == "" {
		err = errors.New("does not tell its version")
	}
	if err != nil {
		return "", &Error{Object: binary, Cause: err, WayOut: "remove it to have it built, or unset " + assetsVariable}
	}
	return "v" + strings.TrimPrefix(found, "v"), nil
}

// link makes target a symbolic link, replacing what was there in one step: others may be reading it.
func link(source, target string) error {
	if current, err := os.Readlink(target); err == nil && current == source {
		return nil
	}
	temporary, err := os.MkdirTemp(filepath.Dir(target), "link-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	name := filepath.Join(temporary, "link")
	if err := os.Symlink(source, name); err != nil {
		return err
	}
	return os.Rename(name, target)
}
