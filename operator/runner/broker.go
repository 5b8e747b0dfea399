package runner

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
	"strconv"
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

// Client is the broker as a runner sees it. What fails in passing is tried again until ctx is done; every request is such that a second
// one does no harm. A refusal is a [run.Problem].
type Client struct {
	url   string
	token string // path of its file, which is renewed while the runner lives
	http  *http.Client
}

// NewClient makes a client of the broker at a URL, known by certificates in PEM, with the token in a file.
func NewClient(url, ca, token string) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("%s holds no certificate in PEM by which the broker could be known: the operator sets it on the run's Job", run.EnvBrokerCA)
	}
	if !strings.HasPrefix(url, "https://") {
		return nil, fmt.Errorf("%s is %q, which is no https URL: the operator sets it on the run's Job", run.EnvBroker, url)
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
		ResponseHeaderTimeout: oneCall,
		IdleConnTimeout:       2 * run.BeatEvery,
		MaxIdleConns:          4,
	} // no Proxy: what the environment says is not for the broker
	return &Client{
		url:   strings.TrimSuffix(url, "/"),
		token: token,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the broker does not redirect")
		}},
	}, nil
}

// Order asks what to do, and takes the lock of the state.
func (c *Client) Order(ctx context.Context) (o run.Order, err error) {
	data, err := c.call(ctx, http.MethodPost, run.PathOrder, nil, nil)
	if err != nil {
		return o, fmt.Errorf("asking the broker for the order: %w", err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return o, errors.New("the broker's order is no order: its version is not the runner's") // no more of it: it holds secrets
	}
	return o, nil
}

// Beat says that the runner lives, once: the next one follows anyway.
func (c *Client) Beat(ctx context.Context) (b run.Beat, err error) {
	data, err := c.once(ctx, http.MethodPost, run.PathBeat, nil, nil)
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(data, &b)
}

// Applying asks leave to apply; source is that of a Converge, nil of others.
func (c *Client) Applying(ctx context.Context, source []byte) error {
	if _, err := c.call(ctx, http.MethodPost, run.PathApplying, source, nil); err != nil {
		return fmt.Errorf("asking the broker for leave to apply: %w", err)
	}
	return nil
}

// Report ends the run.
func (c *Client) Report(ctx context.Context, r run.Report) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if _, err := c.call(ctx, http.MethodPut, run.PathReport, data, nil); err != nil {
		return fmt.Errorf("handing the report to the broker: %w", err)
	}
	return nil
}

// Get reads what is at one of the paths for bytes; [ErrNone] when there is nothing.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	data, err := c.call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the broker: %w", strings.TrimPrefix(path, "/v1/"), err)
	}
	return data, nil
}

// Put keeps bytes at one of the paths.
func (c *Client) Put(ctx context.Context, path string, data []byte) error {
	if _, err := c.call(ctx, http.MethodPut, path, data, nil); err != nil {
		return fmt.Errorf("keeping the %s at the broker: %w", strings.TrimPrefix(path, "/v1/"), err)
	}
	return nil
}

// PutState keeps a state.
func (c *Client) PutState(ctx context.Context, serial int64, lineage string, data []byte) error {
	h := http.Header{run.HeaderSerial: {strconv.FormatInt(serial, 10)}, run.HeaderLineage: {lineage}}
	if _, err := c.call(ctx, http.MethodPut, run.PathState, data, h); err != nil {
		return fmt.Errorf("keeping the state at the broker: %w", err)
	}
	return nil
}

// call asks until there is an answer that another try would not change.
func (c *Client) call(ctx context.Context, method, path string, body []byte, h http.Header) ([]byte, error) {
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		data, err := c.once(ctx, method, path, body, h)
		if _, ok := errors.AsType[*passing](err); !ok {
			return data, err
		}
		if pause(ctx, wait) != nil {
			return nil, fmt.Errorf("%w (given up: %w)", err, context.Cause(ctx))
		}
	}
}

// passing is trouble that may be over at the next try.
type passing struct{ err error }

func (p *passing) Error() string { return p.err.Error() }
func (p *passing) Unwrap() error { return p.err }

func (c *Client) once(ctx context.Context, method, path string, body []byte, h http.Header) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, oneCall)
	defer cancel()
	token, err := os.ReadFile(c.token)
	if err != nil {
		return nil, fmt.Errorf("reading the token for the broker: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, h)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &passing{err}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, &passing{fmt.Errorf("reading the broker's answer: %w", err)}
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
		return &passing{p}
	}
	return p
}

// pause waits, or returns what ended ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
