// Package client asks the operator's broker, with the token that the pod of a run or of a mover has for it.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// ErrNone says that the broker has nothing at a path.
var ErrNone = errors.New("the broker has nothing there")

const (
	// oneCall bounds one request; [run.MaxBlob] has to pass in it.
	oneCall = time.Minute
	// firstPause and longestPause are between two tries.
	firstPause   = 250 * time.Millisecond
	longestPause = 10 * time.Second
	// maxAnswer bounds an order or a problem: an order's inputs come of at most eight Secrets and a ConfigMap's worth of code.
	maxAnswer = 48 << 20
)

// Client is the broker as a pod sees it. What fails in passing is tried again until ctx is done; every request is such that a second
// one does no harm. A refusal is a [run.Problem].
type Client struct {
	// Token is the path of the token's file, which is renewed while the pod lives.
	Token string

	url  string
	http *http.Client
}

// New makes a client of the broker at a URL, known by certificates in PEM, with the token in a file.
func New(url, ca, token string) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("%s holds no certificate in PEM by which the broker could be known: the operator sets it on the Job", run.EnvBrokerCA)
	}
	if !strings.HasPrefix(url, "https://") {
		return nil, fmt.Errorf("%s is %q, which is no https URL: the operator sets it on the Job", run.EnvBroker, url)
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
		ResponseHeaderTimeout: oneCall,
		IdleConnTimeout:       2 * run.BeatEvery,
		MaxIdleConns:          4,
	} // no Proxy: what the environment says is not for the broker
	return &Client{
		url:   strings.TrimSuffix(url, "/"),
		Token: token,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the broker does not redirect")
		}},
	}, nil
}

// Call asks until there is an answer that another try would not change.
func (c *Client) Call(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		data, err := c.Once(ctx, method, path, body, header)
		if _, ok := errors.AsType[*Passing](err); !ok {
			return data, err
		}
		if Pause(ctx, wait) != nil {
			return nil, fmt.Errorf("%w (given up: %w)", err, context.Cause(ctx))
		}
	}
}

// Passing is trouble that may be over at the next try.
type Passing struct{ err error }

// Error is the trouble's.
func (p *Passing) Error() string { return p.err.Error() }

// Unwrap is the trouble.
func (p *Passing) Unwrap() error { return p.err }

// Once asks once.
func (c *Client) Once(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, oneCall)
	defer cancel()
	token, err := os.ReadFile(c.Token)
	if err != nil {
		return nil, fmt.Errorf("reading the token for the broker: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &Passing{err}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, &Passing{fmt.Errorf("reading the broker's answer: %w", err)}
	}
	if len(data) > maxAnswer {
		return nil, errors.New("the broker's answer is larger than any should be")
	}
	return data, judge(resp.StatusCode, path, data)
}

// judge makes an error of an answer.
func judge(status int, path string, body []byte) error {
	blob := path == run.PathSource || path == run.PathPlan || path == run.PathState
	switch {
	case status < 300:
		return nil
	case status == http.StatusNotFound && blob:
		return ErrNone
	}
	p := &run.Problem{}
	if json.Unmarshal(body, p) != nil || p.Class == "" {
		p = &run.Problem{Class: v1alpha1.FailureInfrastructure, Message: fmt.Sprintf("the broker answered %d %s", status, http.StatusText(status))}
	}
	again := status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	if again && p.Class == v1alpha1.FailureInfrastructure {
		return &Passing{p}
	}
	return p
}

// Pause waits, or returns what ended ctx.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
