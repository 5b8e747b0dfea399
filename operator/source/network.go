package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// elsewhere are addresses that lead to no server of the internet's, beside those that netip knows.
var elsewhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // between providers and their customers; some clouds' metadata
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // an address of the old kind in one of the new
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("::/96"),
}

// metadata are addresses at which clouds tell machines their secrets, beside those that are link-local. No range lets a source be there.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"),
}

// forbidden tells whether no source may be at an address: at one that leads to no server of the internet's, outside of the platform's ranges.
func (o Options) forbidden(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), within(metadata, a):
		return true
	case within(o.Ranges, a):
		return false
	}
	return !a.IsGlobalUnicast() || a.IsPrivate() || within(elsewhere, a) // loopback is not global
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

const reserved = "it is loopback, private, link-local or reserved; use a server with a public address, or ask the platform to name the server's range in --source-ranges"

// control looks at the address that is dialled, after its name was resolved: what a name is resolved to at another time does not count.
func (o Options) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || o.forbidden(at.Addr()) {
		return authors("%s is no address that a source may be at: "+reserved, address)
	}
	return nil
}

func (o Options) dialer() *net.Dialer {
	return &net.Dialer{Timeout: 30 * time.Second, Control: o.control}
}

// client makes an HTTP client that reads so much and no more, over TLS only, known also by the source's own certificates.
func (o Options) client(ca []byte, redirect func(*http.Request, []*http.Request) error) (*http.Client, func(), error) {
	var roots *x509.CertPool // the system's
	if len(ca) > 0 {
		if roots, _ = x509.SystemCertPool(); roots == nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(ca) {
			return nil, nil, authors("ca.crt of the source's Secret holds no certificate in PEM: put the one that signed the server's there")
		}
	}
	t := &http.Transport{
		DialContext:           o.dialer().DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ForceAttemptHTTP2:     true,
	} // no Proxy: what the environment says is not the source's
	left := &atomic.Int64{}
	left.Store(o.Wire)
	return &http.Client{Transport: &bounded{t, left}, CheckRedirect: redirect}, t.CloseIdleConnections, nil
}

// bounded is a transport over TLS that reads so much and no more, in all its answers together.
type bounded struct {
	http.RoundTripper
	left *atomic.Int64
}

// RoundTrip asks.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, authors("the source's server leads to %s://%s: credentials and code go over https only", r.URL.Scheme, r.URL.Host)
	}
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &body{resp.Body, b.left}
	}
	return resp, err
}

type body struct {
	io.ReadCloser
	left *atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left.Add(-int64(n)) < 0 {
		return 0, errTooLarge
	}
	return n, err
}

var errTooLarge = authors("the source is larger than a runner reads: take out what is no code, or use a repository of its own")

// sameHost refuses a redirect to another server: who may read there is not asked.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 5 || r.URL.Host != via[0].URL.Host {
		return authors("the source's server leads to %s: write in spec.source where the code really is", r.URL.Host)
	}
	return nil
}

// network says whose turn it is after trouble with a server.
func network(what string, err error) error {
	var failure *Failure
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &failure): // who found it knows
		return &Failure{failure.class, fmt.Errorf("%s: %w", what, failure)}
	case errors.As(err, &verification):
		return authors("%s: its certificate is not one that is trusted here (%w); put ca.crt into the source's Secret", what, verification.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return passing("%s: %w (is its server up, and does the workspace's spec.network.egress open the way to it?)", what, err)
	}
	return passing("%s: %w", what, err)
}

// vetted is the address of a server, for those who dial themselves.
func (o Options) vetted(ctx context.Context, host string) (string, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", network("finding the source's server", err)
	}
	for _, a := range addrs {
		if !o.forbidden(a) {
			return a.Unmap().String(), nil
		}
	}
	return "", authors("%s has no address that a source may be at: "+reserved, host)
}
