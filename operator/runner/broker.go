package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/run"
)

// Client is the broker as a runner sees it.
type Client struct{ *client.Client }

// NewClient makes a client of the broker: see [client.New].
func NewClient(url, ca, token string) (*Client, error) {
	c, err := client.New(url, ca, token)
	return &Client{c}, err
}

// Order asks what to do, and takes the lock of the state.
func (c *Client) Order(ctx context.Context) (o run.Order, err error) {
	data, err := c.Call(ctx, http.MethodPost, run.PathOrder, nil, nil)
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
	data, err := c.Once(ctx, http.MethodPost, run.PathBeat, nil, nil)
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(data, &b)
}

// Applying asks leave to apply; source is that of a Converge, nil of others.
func (c *Client) Applying(ctx context.Context, source []byte) error {
	if _, err := c.Call(ctx, http.MethodPost, run.PathApplying, source, nil); err != nil {
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
	if _, err := c.Call(ctx, http.MethodPut, run.PathReport, data, nil); err != nil {
		return fmt.Errorf("handing the report to the broker: %w", err)
	}
	return nil
}

// Get reads what is at one of the paths for bytes; [client.ErrNone] when there is nothing.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	data, err := c.Call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the broker: %w", strings.TrimPrefix(path, "/v1/"), err)
	}
	return data, nil
}

// Put keeps bytes at one of the paths.
func (c *Client) Put(ctx context.Context, path string, data []byte) error {
	if _, err := c.Call(ctx, http.MethodPut, path, data, nil); err != nil {
		return fmt.Errorf("keeping the %s at the broker: %w", strings.TrimPrefix(path, "/v1/"), err)
	}
	return nil
}

// PutState keeps a state.
func (c *Client) PutState(ctx context.Context, serial int64, lineage string, data []byte) error {
	h := http.Header{run.HeaderSerial: {strconv.FormatInt(serial, 10)}, run.HeaderLineage: {lineage}}
	if _, err := c.Call(ctx, http.MethodPut, run.PathState, data, h); err != nil {
		return fmt.Errorf("keeping the state at the broker: %w", err)
	}
	return nil
}
