package backups

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stores"
)

// way lies between the operator and the store.
type way struct {
	mu   sync.Mutex
	next func(w http.ResponseWriter, r *http.Request, store http.Handler)
}

// through has a repository reached by the way.
func (y *way) through(t *testing.T) func(*v1alpha1.BackupRepository) {
	return func(r *v1alpha1.BackupRepository) {
		g := &stores.Gateway{Addr: strings.TrimPrefix(r.Spec.S3.Endpoint, "http://")}
		r.Spec.S3.Endpoint = "http://" + g.Before(t, func(w http.ResponseWriter, r *http.Request, store http.Handler) {
			y.mu.Lock()
			next := y.next
			y.mu.Unlock()
			if next == nil {
				next = clear
			}
			next(w, r, store)
		})
	}
}

// is makes the way another.
func (y *way) is(next func(w http.ResponseWriter, r *http.Request, store http.Handler)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.next = next
}

func clear(w http.ResponseWriter, r *http.Request, store http.Handler) { store.ServeHTTP(w, r) }

// down hangs up.
func down(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// slow takes its time for each request.
func slow(w http.ResponseWriter, r *http.Request, store http.Handler) {
	time.Sleep(200 * time.Millisecond)
	store.ServeHTTP(w, r)
}

// isPage tells whether a request is for a page.
func isPage(r *http.Request, method string) bool {
	return r.Method == method && strings.Contains(r.URL.Path, "/objects/")
}

// reading changes what is read of files whose names have a part.
func reading(part string, change func(w http.ResponseWriter, file []byte)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, store http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
			store.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		store.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
		w.WriteHeader(answer.Code)
		change(w, answer.Body.Bytes())
	}
}

// truncating breaks off in the middle of each file whose name has a part.
func truncating(part string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return reading(part, func(w http.ResponseWriter, file []byte) {
		_, _ = w.Write(file[:len(file)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// lying sends other bytes of pages than there are, as many.
var lying = reading("/objects/", func(w http.ResponseWriter, page []byte) {
	page = bytes.Clone(page)
	page[len(page)/2] ^= 1
	_, _ = io.Copy(w, bytes.NewReader(page))
})
