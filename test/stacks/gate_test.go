package stacks

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
)

// gate stands between the runners and the broker: who runs stacks is told the gate's address. It knows what is asked for which stack, lets
// tests act right then, and may lose a request or an answer.
type gate struct {
	broker   string // address of the broker
	listener net.Listener
	client   *http.Client

	lock   sync.Mutex
	guards map[stackKey]guard
	leaves map[string]int // to apply, that runners heard of or may have, by pod
	others []string       // addresses of more brokers
	turn   int
}

// stackKey is a stack by its home namespace and name.
type stackKey struct{ namespace, name string }

// moment is a request of a runner, before or after the broker has served it.
type moment struct {
	what   string // "POST /v1/order"
	served bool
	pod    string // name
}

// guard is asked at each moment, and says what becomes of it.
type guard func(moment) verdict

type verdict int

const (
	passes  verdict = iota
	lost            // the connection is cut
	broken          // an answer that is cut off
	failing         // 500
)

func newGate(t *testing.T) (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return &gate{broker: cluster.FreeAddress(t), listener: l, guards: map[stackKey]guard{}, leaves: map[string]int{}}, err
}

func (g *gate) url() string { return "https://" + g.listener.Addr().String() }

// open serves, once the operator has made the authority by which runners know the broker.
func (g *gate) open(ctx context.Context) error {
	admin, err := client.New(cluster.Admin(), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		return err
	}
	secret := &corev1.Secret{}
	for end := time.Now().Add(patience); ; {
		if err = admin.Get(ctx, client.ObjectKey{Namespace: embedded.Namespace, Name: broker.SecretName}, secret); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the operator makes no broker: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	authority, err := tls.X509KeyPair(secret.Data["ca.crt"], secret.Data["ca.key"])
	if err != nil {
		return err
	}
	own, err := signed(&authority)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	g.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}}
	server := &http.Server{Handler: g, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() {
		_ = server.Serve(tls.NewListener(g.listener, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own}}))
	}()
	return nil
}

// signed is a certificate for this machine.
func signed(authority *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "gate"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority.Leaf, key.Public(), authority.PrivateKey)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// watch asks a guard at each moment of a stack's runs; nil: nobody.
func (g *gate) watch(s stackKey, f guard) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.guards[s] = f
}

// next is the broker that serves the next request, of all in turn.
func (g *gate) next() string {
	g.lock.Lock()
	defer g.lock.Unlock()
	all := append([]string{g.broker}, g.others...)
	g.turn++
	return all[g.turn%len(all)]
}

// serve has more brokers serve as well.
func (g *gate) serve(others ...string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.others = others
}

// granted is how often pods got leave to apply, by their names.
func (g *gate) granted() map[string]int {
	g.lock.Lock()
	defer g.lock.Unlock()
	return maps.Clone(g.leaves)
}

// ServeHTTP hands a request on.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pod, s := whose(r)
	g.lock.Lock()
	f := g.guards[s]
	g.lock.Unlock()
	if f == nil {
		f = func(moment) verdict { return passes }
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	m := moment{what: r.Method + " " + r.URL.Path, pod: pod}
	if !meet(w, f(m)) {
		return
	}
	code, header, answer, err := g.hand(r, body)
	if err != nil { // there is no broker: the connection breaks, as it does where there is no gate
		panic(http.ErrAbortHandler)
	}
	if m.what == "POST "+run.PathApplying && code < 300 {
		g.lock.Lock()
		g.leaves[pod]++
		g.lock.Unlock()
	}
	m.served = true
	if v := f(m); v == broken {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)+1))
		w.WriteHeader(http.StatusOK) // 204 has no body to break off
		_, _ = w.Write(answer)
		panic(http.ErrAbortHandler)
	} else if !meet(w, v) {
		return
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(code)
	_, _ = w.Write(answer)
}

// meet does what is wanted instead of passing; true: it passes.
func meet(w http.ResponseWriter, v verdict) bool {
	switch v {
	case lost, broken:
		panic(http.ErrAbortHandler)
	case failing:
		http.Error(w, "no room", http.StatusInternalServerError)
		return false
	case passes:
	}
	return true
}

// hand asks the broker.
func (g *gate) hand(r *http.Request, body []byte) (code int, header http.Header, answer []byte, err error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+g.next()+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header = r.Header.Clone()
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, errors.Join(err, resp.Body.Close())
}

// whose is the pod that a token is bound to, and the stack that it works for.
func whose(r *http.Request) (pod string, s stackKey) {
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return "", s
	}
	var claims struct {
		Kubernetes struct {
			Namespace string                `json:"namespace"`
			Pod       struct{ Name string } `json:"pod"`
		} `json:"kubernetes.io"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return "", s
	}
	pod = claims.Kubernetes.Pod.Name // stack-<stack>-<attempt>-<random>
	s.namespace, _, _ = strings.Cut(claims.Kubernetes.Namespace, "--")
	s.name = strings.TrimPrefix(pod, "stack-")
	for range 2 {
		s.name = s.name[:max(0, strings.LastIndexByte(s.name, '-'))]
	}
	return pod, s
}
