package mover

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/broletto/broletto/operator/move"
)

// TestCheck: a right answer passes, and nothing else does.
func TestCheck(t *testing.T) {
	t.Parallel()
	var asked, elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10") })
	mux.HandleFunc("/much", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // without an end
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*headerLimit)) })
	mux.HandleFunc("/atti", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RawQuery) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that break off
	secure.StartTLS()
	t.Cleanup(secure.Close)
	asHTTPS, asHTTP := strings.Replace(server.URL, "http:", "https:", 1), strings.Replace(secure.URL, "https:", "http:", 1)
	for name, c := range map[string]struct {
		url     string
		status  int
		seconds int
		want    string // of the failure; empty: none
		bytes   int64  // of the answer that were read; -1: any
	}{
		"Answered":   {server.URL + "/atti?n=1", 200, 1, "", 3},
		"Later":      {server.URL + "/slow", 200, 60, "", 0},
		"Other":      {server.URL + "/none", 200, 1, "is answered with 404, not 200", 0},
		"Redirect":   {server.URL + "/away", 200, 1, "is answered with 302, not 200", 0},
		"Redirected": {server.URL + "/away", 302, 1, "", -1},
		"Broken":     {server.URL + "/broken", 200, 1, "the answer breaks off after 0 bytes", 0},
		"Much":       {server.URL + "/much", 200, 1, "", answerLimit},
		"Headers":    {server.URL + "/headers", 200, 1, "server response headers exceeded", 0},
		"Nobody":     {"http://127.0.0.1:1/", 200, 1, "connection refused", 0},
		"TLS":        {secure.URL + "/atti?n=1", 200, 1, "", 3}, // its certificate is of no authority that we know
		"TLSOther":   {secure.URL + "/none", 200, 1, "is answered with 404, not 200", 0},
		"TLSAway":    {secure.URL + "/away", 200, 1, "is answered with 302, not 200", 0},
		"NoTLS":      {asHTTPS + "/atti", 200, 1, "server gave HTTP response to HTTPS client", 0},
		"OnlyTLS":    {asHTTP + "/atti", 200, 1, "is answered with 400, not 200", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := Mover{}.Run(t.Context(), move.Order{Operation: move.Check, Question: &move.Question{URL: c.url, Status: c.status, Seconds: c.seconds}})
			switch {
			case c.want == "" && (r.Failure != nil || c.bytes >= 0 && r.Bytes != c.bytes):
				t.Errorf("it failed: %+v, %d bytes", r.Failure, r.Bytes)
			case c.want != "" && (r.Failure == nil || r.Failure.Class != move.FailureAnswer || !strings.Contains(r.Failure.Message, c.want)):
				t.Errorf("it came to %+v, want %q", r.Failure, c.want)
			}
		})
	}
	if elsewhere.Load() > 0 {
		t.Error("a redirect was followed")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if r := (Mover{}).Run(ctx, move.Order{Operation: move.Check, Question: &move.Question{URL: "http://127.0.0.1:1/", Status: 200, Seconds: 600}}); r.Failure == nil || r.Failure.Class != move.FailureInterrupted {
		t.Errorf("a mover that is told to end says %+v", r.Failure)
	}
	for _, bad := range []move.Question{{}, {URL: "ftp://x/", Status: 200, Seconds: 1}, {URL: "http://u:p@x/", Status: 200, Seconds: 1}, {URL: "http://x/", Status: 100, Seconds: 1}, {URL: "http://x/", Status: 200}} {
		if r := (Mover{}).Run(t.Context(), move.Order{Operation: move.Check, Question: &bad}); r.Failure == nil || r.Failure.Class != move.FailureOrder {
			t.Errorf("%+v came to %+v", bad, r.Failure)
		}
	}
}
