package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/vault"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=broletto.dev,resources=stackruns,verbs=list;watch

const (
	// headerTime bounds a handshake and the header of a request.
	headerTime = 10 * time.Second
	// bodyTime bounds reading a body, waiting for its turn, and writing an answer; a runner that is slower tries again.
	bodyTime = 2 * time.Minute
	// idleTime is how long a connection may stay without a request; longer than the time between two beats.
	idleTime = time.Minute
	// grace is how long a stop waits for requests under way.
	grace = 15 * time.Second
	// maxHeader bounds the header of a request, token included.
	maxHeader = 16 << 10
)

// Options are what a broker needs.
type Options struct {
	// Address is where it listens, for example ":9443" or "127.0.0.1:0".
	Address string
	// URL is what runners are told; empty: https at the address it listens on.
	URL string
	// Namespace holds the Secret with its authority.
	Namespace string
	// Vault holds what it hands out.
	Vault *vault.Vault
	// Live reads and writes at the API server: tokens, pods, runs, its Secret.
	Live client.Client
	// Runs reads StackRuns, best from a cache.
	Runs client.Reader
	// Movers know what movers are to do; nil: there are none.
	Movers Movers
	// Now is the clock; nil: the machine's.
	Now func() time.Time
	// BodyTime bounds how long a body may take; 0: two minutes.
	BodyTime time.Duration
}

// Broker serves runners. Several may serve the same vault at once.
type Broker struct {
	Options
	listener  net.Listener
	url       string
	authority *authority
	callers   *callers
	room      *room
	requests  *prometheus.CounterVec
	telling   rate.Sometimes // of callers that are refused
}

// New listens, and makes the authority by which runners know the broker, if there is none yet. It answers once it is started.
func New(ctx context.Context, o Options) (*Broker, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.BodyTime = cmp.Or(o.BodyTime, bodyTime)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for runners on %s: %w (choose another --broker-bind-address)", o.Address, err)
	}
	b := &Broker{
		Options: o, listener: listener, url: cmp.Or(o.URL, "https://"+listener.Addr().String()), room: newRoom(), requests: newRequests(),
		telling: rate.Sometimes{Interval: time.Second}, // who floods us does not flood the log
	}
	b.callers = newCallers(o)
	names, err := b.names()
	if err == nil {
		b.authority, err = newAuthority(ctx, o, names)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return b, nil
}

// names are what its certificate is for.
func (b *Broker) names() ([]string, error) {
	told, err := url.Parse(b.url)
	if err != nil || told.Scheme != "https" || told.Hostname() == "" {
		return nil, fmt.Errorf("the broker's URL %q is not https://<host>: correct --broker-url", b.url)
	}
	names := []string{told.Hostname()}
	if host, _, err := net.SplitHostPort(b.listener.Addr().String()); err == nil && host != names[0] && !net.ParseIP(host).IsUnspecified() {
		names = append(names, host)
	}
	return names, nil
}

// URL is where runners find it.
func (b *Broker) URL() string { return b.url }

// CA are the certificates by which runners know it, as PEM.
func (b *Broker) CA() []byte { return b.authority.pem }

// Collector counts requests.
func (b *Broker) Collector() prometheus.Collector { return b.requests }

// NeedLeaderElection says that every replica serves.
func (b *Broker) NeedLeaderElection() bool { return false }

// Start serves until ctx is done, then lets requests under way finish.
func (b *Broker) Start(ctx context.Context) error {
	server := &http.Server{
		Handler: b.handler(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: stdlog.New(io.Discard, "", 0), // a handshake that fails is the caller's to tell
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true) // one request at a time on a connection, so that deadlines hold for what they are set for
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(tls.NewListener(b.listener, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: b.authority.certificate}))
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serving runners: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return fmt.Errorf("waiting for runners' last requests: %w", errors.Join(err, server.Close()))
	}
	return nil
}
