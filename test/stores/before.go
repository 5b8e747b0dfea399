package stores

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
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
		Transport: &http.Transport{DisableKeepAlives: true}, // the gateway hangs up after a refusal, and a PUT is not sent again by itself
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // sent on at once: the gateway may hang up before it has read it all
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answers(w, r, gateway)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
