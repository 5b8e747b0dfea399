package stores

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// Before puts something between the gateway and its clients: it answers itself, or has the gateway answer, perhaps not under its eyes.
func (g *Gateway) Before(t *testing.T, answers func(w http.ResponseWriter, r *http.Request, gateway http.Handler)) (addr string) {
	t.Helper()
	gateway := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: g.Addr})
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: again{&http.Transport{DisableKeepAlives: true}}, // the gateway hangs up after a refusal
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers(w, r, gateway) }))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// again sends a request again on which the gateway has hung up before it was sent, as it does when it refuses one by its head: what it said is
// lost then.
type again struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a again) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	var body []byte
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for range 10 {
		if r.Body != nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		answer, err = a.next.RoundTrip(r)
		if !errors.Is(err, syscall.EPIPE) {
			break
		}
	}
	return answer, err
}
