package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// patience is how long a process may take to become ready: seconds on an idle machine, more on a loaded one.
const patience = 2 * time.Minute

// await asks for path as the admin until the answer is 200. It gives up when any process has ended, or when ctx or
// patience has, which is then the fault of suspect.
func (c *ControlPlane) await(ctx context.Context, suspect *process, path string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: %s are over", ErrTimeout, patience))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("not asked yet")
	for {
		err := get(ctx, client, c.URL()+path)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else err says only that we gave up
			last = err
		}
		if err := c.casualty(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return suspect.failure(fmt.Errorf("%w; the last answer was %w", context.Cause(ctx), last))
		case <-tick.C:
		}
	}
}

// client returns an HTTP client that is logged in as the admin.
func (c *ControlPlane) client() (*http.Client, error) {
	cert, key, err := c.ClientCertificate(AdminUser, AdminGroup)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.authority.cert)
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}},
	}, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
}
