package pulumi_test

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is an API server that knows config maps.
type world struct {
	t    *testing.T
	env  map[string]string
	slow chan struct{} // has been asked for a config map of the name slow

	mu   sync.Mutex
	maps map[string]map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, maps: map[string]map[string]string{}, slow: make(chan struct{}, 10)}
	server := httptest.NewTLSServer(w)
	t.Cleanup(server.Close)
	account := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string]string{"token": "t", "namespace": "default", "ca.crt": string(ca)} {
		if err := os.WriteFile(filepath.Join(account, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	w.env = map[string]string{
		"BROLETTO_SERVICEACCOUNT": account, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port,
	}
	return w
}

func (w *world) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.maps)
}

// lose removes one, and changes another if there is one.
func (w *world) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.maps {
		delete(w.maps, name)
		break
	}
	for name := range w.maps {
		w.maps[name] = map[string]string{"by": "somebody"}
	}
}

type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]any    `json:"metadata"`
	Data       map[string]string `json:"data,omitempty"`
}

const collection = "/api/v1/namespaces/default/configmaps"

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, collection), "/")
	var body configMap
	var patch []struct {
		Value map[string]string `json:"value"`
	}
	switch r.Method {
	case http.MethodPost:
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		name, _ = body.Metadata["name"].(string)
	case http.MethodPatch:
		if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || len(patch) != 1 {
			http.Error(rw, "not one operation", http.StatusBadRequest)
			return
		}
	}
	if r.Method == http.MethodPost && name == "slow" {
		w.slow <- struct{}{}
		select { // and nothing comes of it
		case <-r.Context().Done():
		case <-time.After(2 * time.Minute):
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, there := w.maps[name]
	switch {
	case r.Method == http.MethodPost && there:
		refuse(rw, http.StatusConflict, "AlreadyExists", name)
		return
	case r.Method == http.MethodPost:
		w.maps[name] = body.Data
	case !there:
		refuse(rw, http.StatusNotFound, "NotFound", name)
		return
	case r.Method == http.MethodPatch:
		w.maps[name] = patch[0].Value
	case r.Method == http.MethodDelete:
		delete(w.maps, name)
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(configMap{"v1", "ConfigMap", map[string]any{"name": name, "namespace": "default"}, w.maps[name]})
}

func refuse(rw http.ResponseWriter, code int, reason, name string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
		"message": "configmaps \"" + name + "\" " + reason, "details": map[string]any{"name": name, "kind": "configmaps"},
	})
}
