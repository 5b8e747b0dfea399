package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// session is an HTTP client that is logged in as a user.
type session struct {
	t    *testing.T
	url  string
	http *http.Client
}

func login(t *testing.T, c *ControlPlane, user string, groups ...string) session {
	t.Helper()
	cert, key, err := c.ClientCertificate(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return loginWith(t, c, cert, key)
}

func loginWith(t *testing.T, c *ControlPlane, cert, key []byte) session {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	t.Cleanup(transport.CloseIdleConnections)
	return session{t: t, url: c.URL(), http: &http.Client{Transport: transport}}
}

// do sends a request and returns the status and the object.
func (s session) do(method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "kube-test")
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var object map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&object); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, object
}

func namespaceOf(name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
}

// start is Start with what a test wants to see in its log.
func start(t *testing.T, dir string) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), Options{Dir: dir, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() }) // what the test did to it may be its error
	return c
}

// stopped stops a control plane and checks that nothing runs any more.
func stopped(t *testing.T, c *ControlPlane) {
	t.Helper()
	begun := time.Now()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	for _, p := range []*process{c.etcd, c.apiServer, c.manager} {
		if alive(p.cmd.Process.Pid) {
			t.Errorf("%s lives", p.name)
		}
	}
	if err := c.Stop(); err != nil {
		t.Error("the second Stop:", err)
	}
}

func TestControlPlane(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir)
	admin := login(t, c, AdminUser, AdminGroup)

	if code, object := admin.do("POST", "/api/v1/namespaces", namespaceOf("comune")); code != 201 {
		t.Fatal(code, object)
	}
	eventually(t, "the controllers made what a namespace has", func() bool {
		account, _ := admin.do("GET", "/api/v1/namespaces/comune/serviceaccounts/default", nil)
		authority, _ := admin.do("GET", "/api/v1/namespaces/comune/configmaps/kube-root-ca.crt", nil)
		return account == 200 && authority == 200
	})
	checkQuota(t, admin)
	checkRoles(t, c)
	checkAudit(t, c, admin)
	checkPermissions(t, dir)

	cert, key, err := c.ClientCertificate(AdminUser, AdminGroup)
	if err != nil {
		t.Fatal(err)
	}
	url := c.URL()
	watch := openWatch(t, admin, "")
	stopped(t, c) // an open watch must not hold it up
	_ = watch.Close()

	again := start(t, dir)
	if again.URL() != url {
		t.Errorf("moved from %s to %s: kubeconfigs are invalid", url, again.URL())
	}
	if code, object := loginWith(t, again, cert, key).do("GET", "/api/v1/namespaces/comune", nil); code != 200 {
		t.Error("the namespace is lost, or the old certificate refused:", code, object)
	}
	stopped(t, again)
}

// checkQuota sees the quota controller count: a fake has none.
func checkQuota(t *testing.T, admin session) {
	t.Helper()
	quota := map[string]any{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "small"},
		"spec": map[string]any{"hard": map[string]any{"configmaps": "2"}}}
	if code, object := admin.do("POST", "/api/v1/namespaces/comune/resourcequotas", quota); code != 201 {
		t.Fatal(code, object)
	}
	eventually(t, "the quota has a status", func() bool {
		_, object := admin.do("GET", "/api/v1/namespaces/comune/resourcequotas/small", nil)
		status, _ := object["status"].(map[string]any)
		used, _ := status["used"].(map[string]any)
		return used["configmaps"] == "1" // the certificate authority's
	})
}

// checkRoles sees that others than the admin may nothing.
func checkRoles(t *testing.T, c *ControlPlane) {
	t.Helper()
	nobody := login(t, c, "system:serviceaccount:comune:default", "system:serviceaccounts")
	if code, object := nobody.do("GET", "/api/v1/namespaces/comune/secrets", nil); code != 403 {
		t.Errorf("got %d for somebody without a role, want 403: %v", code, object)
	}
}

// checkAudit counts the requests of the test: each must be there once.
func checkAudit(t *testing.T, c *ControlPlane, admin session) {
	t.Helper()
	_, offset, err := ReadAudit(c.AuditLog(), 0)
	if err != nil {
		t.Fatal(err)
	}
	watch := openWatch(t, admin, "&timeoutSeconds=1")
	if _, err := io.Copy(io.Discard, watch); err != nil { // to its end, which must not be logged too
		t.Fatal(err)
	}
	admin.do("PUT", "/api/v1/namespaces/comune", namespaceOf("comune"))
	admin.do("POST", "/api/v1/namespaces?dryRun=All", namespaceOf("dry"))
	admin.do("GET", "/api/v1/namespaces/nowhere", nil)
	var got []string
	eventually(t, "the requests are in the log", func() bool {
		events, next, err := ReadAudit(c.AuditLog(), offset)
		if err != nil {
			t.Fatal(err)
		}
		offset = next
		for _, e := range events {
			if e.UserAgent == "kube-test" {
				got = append(got, fmt.Sprint(e.User, e.Verb, e.Resource, e.Name, e.Code, e.Stage, e.Mutating()))
			}
		}
		return len(got) >= 4
	})
	want := []string{
		fmt.Sprint(AdminUser, "watch", "namespaces", "", 200, "ResponseStarted", false),
		fmt.Sprint(AdminUser, "update", "namespaces", "comune", 200, "ResponseComplete", true),
		fmt.Sprint(AdminUser, "create", "namespaces", "dry", 201, "ResponseComplete", false),
		fmt.Sprint(AdminUser, "get", "namespaces", "nowhere", 404, "ResponseComplete", false),
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// openWatch begins a watch and returns its stream, after the first event.
func openWatch(t *testing.T, admin session, options string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, admin.url+"/api/v1/namespaces?watch=true"+options, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "kube-test")
	resp, err := admin.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return resp.Body
}

// checkPermissions sees that other users of the machine read no key and reach no socket.
func checkPermissions(t *testing.T, dir string) {
	t.Helper()
	modes := map[string]os.FileMode{"": 0o700, "pki": 0o700, "pki/ca.key": 0o600, "pki/sa.key": 0o600,
		"pki/controller-manager.kubeconfig": 0o600, "logs/etcd.log": 0o600, "audit.log": 0o600}
	for name, want := range modes {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
}

// fakeAssets sets KUBEBUILDER_ASSETS to shell scripts. Each tells its version, and else runs script.
func fakeAssets(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range serverNames {
		script := scripts[name]
		if script == "" {
			script = "exec sleep 3600"
		}
		write(t, filepath.Join(dir, name),
			"#!/bin/sh\n[ \"$1\" = --version ] && echo v1.36.3 && exit\necho $$ > $0.pid\n"+script+"\n", 0o755)
	}
	t.Setenv(assetsVariable, dir)
	t.Cleanup(func() { // whatever was started must be gone by now
		pids, _ := filepath.Glob(filepath.Join(dir, "*.pid"))
		for _, file := range pids {
			var pid int
			text, _ := os.ReadFile(file)
			if _, err := fmt.Sscan(string(text), &pid); err == nil && alive(pid) { // the file of one that ended early is empty
				t.Errorf("left behind: %s", filepath.Base(file))
			}
		}
	})
}

func TestStartFailures(t *testing.T) {
	t.Run("a process dies", func(t *testing.T) {
		fakeAssets(t, map[string]string{"kube-apiserver": "echo flag nonsense >&2; exit 7"})
		dir := t.TempDir()
		_, err := Start(t.Context(), Options{Dir: dir})
		wantError(t, err, nil, "kube-apiserver: exit status 7", "flag nonsense", filepath.Join(dir, "logs", "kube-apiserver.log"))
	})
	t.Run("etcd dies", func(t *testing.T) {
		fakeAssets(t, map[string]string{"etcd": "echo no space left on device; exit 1"})
		_, err := Start(t.Context(), Options{Dir: t.TempDir()})
		wantError(t, err, ErrNoSpace, "etcd: exit status 1", "free some space")
	})
	t.Run("nothing becomes ready", func(t *testing.T) {
		fakeAssets(t, map[string]string{"kube-apiserver": "echo thinking; exec sleep 3600"})
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		_, err := Start(ctx, Options{Dir: t.TempDir()})
		wantError(t, err, context.DeadlineExceeded, "kube-apiserver", "thinking", "connection refused")
	})
	t.Run("cancelled", func(t *testing.T) {
		fakeAssets(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		_, err := Start(ctx, Options{})
		wantError(t, err, context.Canceled)
	})
	t.Run("the log survives a temporary folder", func(t *testing.T) {
		fakeAssets(t, map[string]string{"etcd": "exit 1"})
		t.Setenv("TMPDIR", t.TempDir())
		_, err := Start(t.Context(), Options{})
		failed, ok := errors.AsType[*ProcessError](err)
		if !ok || !exists(failed.Log) {
			t.Errorf("no log after %v", err)
		}
	})
	t.Run("a free port that is taken in between", func(t *testing.T) {
		// Refuses the first port that it is given.
		fakeAssets(t, map[string]string{"kube-apiserver": `
			echo x >> $0.count
			[ $(wc -l < $0.count) = 1 ] && echo "bind: address already in use" && exit 1
			echo second; exec sleep 3600`})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := Start(ctx, Options{Dir: t.TempDir()})
		wantError(t, err, context.DeadlineExceeded, "second")
	})
}

func TestWaitTellsWhichProcessEnded(t *testing.T) {
	c := &ControlPlane{etcd: run(t, "exec sleep 3600"), apiServer: run(t, "exec sleep 3600"), manager: run(t, "sleep 0.2; echo gone; exit 2")}
	wantError(t, c.Wait(t.Context()), nil, "exit status 2", "gone")

	c.manager = run(t, "exec sleep 3600")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Error(err)
	}
}
