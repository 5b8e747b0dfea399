package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// ownNamespace is that of the pod that tests run as.
const ownNamespace = "roma--web"

// tokenOf is a token of an account of that namespace.
func tokenOf(account string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"system:serviceaccount:`+ownNamespace+`:`+account+`"}`)) + ".s"
}

// objects are the data of config maps, by namespace/name.
type objects map[string]map[string]string

// server is an API server with config maps, as far as this provider can tell.
type server struct {
	t       *testing.T
	mu      sync.Mutex
	objects objects
	owners  map[string]string // by namespace/name
	account string            // folder
	token   string
	writes  int
	deny    bool // answer everything as RBAC does
}

// startServer starts one, and makes the test's environment that of a pod beside it.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, objects: objects{}, owners: map[string]string{}, account: t.TempDir()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/configmaps", s.create)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/configmaps/{name}", s.get)
	mux.HandleFunc("PATCH /api/v1/namespaces/{namespace}/configmaps/{name}", s.patch)
	mux.HandleFunc("DELETE /api/v1/namespaces/{namespace}/configmaps/{name}", s.remove)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer "+s.token:
			refuse(w, http.StatusUnauthorized, "Unauthorized", "", "Unauthorized")
		case s.deny:
			refuse(w, http.StatusForbidden, "Forbidden", "configmaps", `configmaps "x" is forbidden: no`)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(web.Close)

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	for name, text := range map[string]string{"ca.crt": string(ca), "namespace": ownNamespace} {
		if err := os.WriteFile(filepath.Join(s.account, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.runAs("stack-web")
	host, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(accountVariable, s.account)
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	return s
}

// runAs makes the pod that of another account.
func (s *server) runAs(account string) {
	s.t.Helper()
	s.token = tokenOf(account)
	if err := os.WriteFile(filepath.Join(s.account, "token"), []byte(s.token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// has is the data of an object, and whether there is one.
func (s *server) has(id string) (map[string]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.objects[id]
	return data, ok
}

// meddle is what somebody else does.
func (s *server) meddle(change func(objects)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.objects)
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	var o object
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.APIVersion != "v1" || o.Kind != "ConfigMap" {
		s.t.Errorf("created %+v: %v", o, err)
	}
	if r.PathValue("namespace") == "nowhere" {
		refuse(w, http.StatusNotFound, "NotFound", "namespaces", `namespaces "nowhere" not found`)
		return
	}
	id := r.PathValue("namespace") + "/" + o.Metadata.Name
	if _, exists := s.objects[id]; exists {
		refuse(w, http.StatusConflict, "AlreadyExists", "configmaps", fmt.Sprintf("configmaps %q already exists", o.Metadata.Name))
		return
	}
	s.writes++
	s.objects[id], s.owners[id] = o.Data, o.Metadata.Annotations[ownerAnnotation]
	w.WriteHeader(http.StatusCreated)
	answer(w, o)
}

// known finds the object of a request, or refuses it.
func (s *server) known(w http.ResponseWriter, r *http.Request) (string, bool) {
	id := r.PathValue("namespace") + "/" + r.PathValue("name")
	_, ok := s.objects[id]
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound", "configmaps", fmt.Sprintf("configmaps %q not found", r.PathValue("name")))
	}
	return id, ok
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.known(w, r); ok {
		answer(w, object{APIVersion: "v1", Kind: "ConfigMap", Metadata: metadata{r.PathValue("name"), map[string]string{ownerAnnotation: s.owners[id]}}, Data: s.objects[id]})
	}
}

func (s *server) patch(w http.ResponseWriter, r *http.Request) {
	id, ok := s.known(w, r)
	if !ok {
		return
	}
	var patch []struct {
		Op, Path string
		Value    map[string]string
	}
	err := json.NewDecoder(r.Body).Decode(&patch)
	if err != nil || r.Header.Get("Content-Type") != "application/json-patch+json" ||
		len(patch) != 1 || patch[0].Op != "add" || patch[0].Path != "/data" || patch[0].Value == nil {
		s.t.Errorf("patched with %+v: %v", patch, err)
		return
	}
	s.writes++
	s.objects[id] = patch[0].Value
	answer(w, object{})
}

func (s *server) remove(w http.ResponseWriter, r *http.Request) {
	if id, ok := s.known(w, r); ok {
		s.writes++
		delete(s.objects, id)
		answer(w, object{})
	}
}

func answer(w http.ResponseWriter, body any) {
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code int, reason, kind, message string) {
	w.WriteHeader(code)
	answer(w, map[string]any{
		"kind": "Status", "status": "Failure", "code": code,
		"reason": reason, "message": message, "details": map[string]any{"kind": kind},
	})
}
