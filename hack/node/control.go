//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/hack/node/policy"
)

// controlSocket is where the box takes orders, in its folder.
const controlSocket = "control.sock"

// orders are what can be asked of a running box.
var orders = map[string]func(b *box, ctx context.Context, argument string) error{
	"start":   (*box).startUnits,
	"stop":    (*box).stopUnits,
	"restart": (*box).restart,
	"load":    (*box).load,
	"open":    (*box).open,
	"cut":     func(_ *box, _ context.Context, name string) error { return plug(name, false) },
	"join":    func(_ *box, _ context.Context, name string) error { return plug(name, true) },
}

// Order asks the box in dir for something and waits until it is done:
//
//   - stop and start units, such as "kubelet-node-2" or "*-node-2"
//   - cut a node off from everything else, as if its cable were pulled, and join it again
//   - restart everything but containers: the control plane with the argument "control", else the units that match
//   - load an archive of images on every node
//   - open stops the enforcement of network policies and removes its rules; start "policy-*" brings it back
func Order(ctx context.Context, dir, order, argument string) error {
	if _, err := readState(dir); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, controlSocket))
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://box/"+order+"?"+url.Values{"argument": {argument}}.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the box in %s: %w", dir, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return err
}

// serveControl takes orders, one after another, until the box ends.
func serveControl(socket string, b *box) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier box, in the same folder
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for name, order := range orders {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			b.ordering.Lock()
			defer b.ordering.Unlock()
			if err := order(b, r.Context(), r.URL.Query().Get("argument")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	go func() { _ = http.Serve(listener, mux) }() //nolint:gosec // a socket in a folder that only root may enter
	return nil
}

func (b *box) startUnits(_ context.Context, pattern string) error {
	found, err := b.units.matching(pattern)
	if err != nil {
		return err
	}
	b.units.Lock()
	defer b.units.Unlock()
	for _, u := range found {
		if err := b.units.start(u); err != nil {
			return err
		}
	}
	return nil
}

func (b *box) stopUnits(_ context.Context, pattern string) error {
	found, err := b.units.matching(pattern)
	for _, u := range slices.Backward(found) { // what was started last depends on the rest
		b.units.stop(u)
	}
	return err
}

func (b *box) restart(ctx context.Context, pattern string) error {
	if pattern == "control" {
		return b.restartControlPlane(ctx)
	}
	return errors.Join(b.stopUnits(ctx, pattern), b.startUnits(ctx, pattern))
}

// restartControlPlane stops the control plane and starts it on the same data.
func (b *box) restartControlPlane(ctx context.Context) (err error) {
	if err := b.plane.Stop(); err != nil {
		return err
	}
	b.plane, err = kube.Start(ctx, b.planeOptions())
	return err
}

func (b *box) load(ctx context.Context, archive string) error {
	return together(b.eachNode(func(n *node) error { return n.importImages(ctx, archive) })...)
}

// open removes the rules after those who write them have gone. While nothing enforces, everybody reaches everybody.
func (b *box) open(ctx context.Context, _ string) error {
	if err := b.stopUnits(ctx, "policy-*"); err != nil {
		return err
	}
	for _, name := range Nodes {
		cmd := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+name, "--", "nft", "delete", "table", "ip", policy.Table)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("removing the rules of %s: %w: %s", name, err, out)
		}
	}
	return nil
}
