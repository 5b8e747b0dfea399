package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// accountVariable names the folder with a pod's token, CA certificate and namespace, where it is not the usual one.
const (
	accountVariable = "BROLETTO_SERVICEACCOUNT"
	accountFolder   = "/var/run/secrets/kubernetes.io/serviceaccount"
)

var (
	errExists = errors.New("exists")
	errGone   = errors.New("not found")
)

// pod is what a pod is given to reach its API server.
type pod struct {
	folder     string
	host, port string
}

func podOf() pod {
	return pod{
		folder: cmp.Or(os.Getenv(accountVariable), accountFolder),
		host:   os.Getenv("KUBERNETES_SERVICE_HOST"),
		port:   os.Getenv("KUBERNETES_SERVICE_PORT"),
	}
}

// state is what inputs ask for, with the pod's namespace where they name none.
func (p pod) state(inputs ConfigMapArgs) (ConfigMapState, error) {
	state := ConfigMapState{Name: inputs.Name, Data: inputs.Data}
	if inputs.Namespace != nil {
		state.Namespace = *inputs.Namespace
		return state, nil
	}
	namespace, err := p.file("namespace")
	state.Namespace = namespace
	return state, err
}

func (p pod) file(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.folder, name))
	if err != nil {
		return "", fmt.Errorf("the pod's account: %w: run in a pod, or set %s", err, accountVariable)
	}
	return strings.TrimSpace(string(text)), nil
}

// client is for one operation: tokens are replaced while a pod runs.
func (p pod) client() (*client, error) {
	if p.host == "" || p.port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run in a pod, or set them")
	}
	token, err := p.file("token")
	if err != nil {
		return nil, err
	}
	ca, err := p.file("ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("no certificate in %s", filepath.Join(p.folder, "ca.crt"))
	}
	return &client{
		base:  "https://" + net.JoinHostPort(p.host, p.port),
		token: token,
		http: &http.Client{
			Timeout: time.Minute,
			// No proxy: the API server of one's own cluster is never behind one.
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		},
	}, nil
}

// client speaks to the API server as the pod.
type client struct {
	base, token string
	http        *http.Client
}

// object is the part of a ConfigMap that we write and read.
type object struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Data       map[string]string `json:"data,omitempty"`
}

type metadata struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ownerAnnotation says which resource of whose program made an object: the pod's account, which no other stack has, and the resource's name.
const ownerAnnotation = "incluster.broletto.dev/owner"

// ownerOf is the value of the annotation; empty where a token does not say whose it is.
func ownerOf(token, resource string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Subject == "" {
		return ""
	}
	return claims.Subject + "/" + resource
}

func (c *client) create(ctx context.Context, s ConfigMapState, owner string) error {
	o := object{APIVersion: "v1", Kind: "ConfigMap", Metadata: metadata{Name: s.Name}, Data: s.Data}
	if owner != "" {
		o.Metadata.Annotations = map[string]string{ownerAnnotation: owner}
	}
	return c.do(ctx, http.MethodPost, collection(s), "application/json", o, nil)
}

// read returns the data, which is never nil.
func (c *client) read(ctx context.Context, s ConfigMapState) (map[string]string, error) {
	var o object
	err := c.do(ctx, http.MethodGet, item(s), "", nil, &o)
	if o.Data == nil {
		o.Data = map[string]string{}
	}
	return o.Data, err
}

// owned tells whether the object was made by an owner. Of one that cannot be read it was not.
func (c *client) owned(ctx context.Context, s ConfigMapState, owner string) bool {
	var o object
	err := c.do(ctx, http.MethodGet, item(s), "", nil, &o)
	return err == nil && owner != "" && o.Metadata.Annotations[ownerAnnotation] == owner
}

// update replaces the data as a whole, whatever it was, and nothing else: "add" on a member that exists replaces it.
func (c *client) update(ctx context.Context, s ConfigMapState) error {
	data := s.Data
	if data == nil {
		data = map[string]string{}
	}
	patch := []map[string]any{{"op": "add", "path": "/data", "value": data}}
	return c.do(ctx, http.MethodPatch, item(s), "application/json-patch+json", patch, nil)
}

func (c *client) remove(ctx context.Context, s ConfigMapState) error {
	return c.do(ctx, http.MethodDelete, item(s), "", nil, nil)
}

func collection(s ConfigMapState) string {
	return "/api/v1/namespaces/" + url.PathEscape(s.Namespace) + "/configmaps"
}

func item(s ConfigMapState) string { return collection(s) + "/" + url.PathEscape(s.Name) }

// do sends one request. What the server refuses is an error in its own words, of class errExists or errGone where it is
// about the object; a namespace that is missing is neither.
func (c *client) do(ctx context.Context, method, path, contentType string, body, result any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, &text)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", packageName+"/"+packageVersion)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20)) // an object has at most 1 MiB, escaped maybe more
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, refusal(resp.Status, answer))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

// refusal makes an error of the API server's Status.
func refusal(status string, answer []byte) error {
	var s struct {
		Message string `json:"message"`
		Reason  string `json:"reason"`
		Details struct {
			Kind string `json:"kind"`
		} `json:"details"`
	}
	if json.Unmarshal(answer, &s) != nil || s.Message == "" {
		return errors.New(status)
	}
	if s.Details.Kind == "configmaps" {
		switch s.Reason {
		case "AlreadyExists":
			return fmt.Errorf("%w: %s", errExists, s.Message)
		case "NotFound":
			return fmt.Errorf("%w: %s", errGone, s.Message)
		}
	}
	return fmt.Errorf("%s: %s", status, s.Message)
}
