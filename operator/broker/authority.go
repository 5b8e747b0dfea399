package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SecretName is the Secret with the authority's certificate and key. Delete it and restart the operator to have another one: runs under way
// are then lost.
const SecretName = "broletto-broker"

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	// authorityRest is what must be left of it at a start; otherwise there is a new one.
	authorityRest = 365 * 24 * time.Hour
	servingLife   = 30 * 24 * time.Hour
	// skew is how far runners' clocks may be behind ours, or ours ahead of the truth.
	skew = 24 * time.Hour

	keyCertificate = "ca.crt"
	keyKey         = "ca.key"
)

// authority signs the certificate of this replica. All replicas share it; each has a serving certificate of its own, in memory only.
type authority struct {
	pem         []byte
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

func newAuthority(ctx context.Context, o Options, names []string) (*authority, error) {
	pair, text, err := keptAuthority(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &serving{authority: pair, names: names, now: o.Now}
	if _, err := s.get(nil); err != nil {
		return nil, err
	}
	return &authority{pem: text, certificate: s.get}, nil
}

// keptAuthority reads the authority from its Secret, or makes both. Of several replicas that start at once, one makes it.
func keptAuthority(ctx context.Context, o Options) (*tls.Certificate, []byte, error) {
	where := client.ObjectKey{Namespace: o.Namespace, Name: SecretName}
	for range 5 {
		secret := &corev1.Secret{}
		err := o.Live.Get(ctx, where, secret)
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("reading Secret %s: %w", where, err)
		}
		if pair, err := tls.X509KeyPair(secret.Data[keyCertificate], secret.Data[keyKey]); err == nil && o.Now().Add(authorityRest).Before(pair.Leaf.NotAfter) {
			return &pair, secret.Data[keyCertificate], nil
		}
		certificate, key, err := sign(o.Now(), &x509.Certificate{
			Subject: pkix.Name{CommonName: "broletto-broker-ca"}, NotAfter: o.Now().Add(authorityLife),
			IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil)
		if err != nil {
			return nil, nil, err
		}
		next := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: where.Namespace, Name: where.Name, ResourceVersion: secret.ResourceVersion},
			Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{keyCertificate: certificate, keyKey: key},
		}
		if next.ResourceVersion == "" {
			err = o.Live.Create(ctx, next)
		} else {
			next.Type = secret.Type // never changes
			err = o.Live.Update(ctx, next)
		}
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			return nil, nil, fmt.Errorf("writing Secret %s: %w", where, err)
		}
	}
	return nil, nil, fmt.Errorf("the Secret %s holds no usable authority: delete it", where)
}

// serving is the certificate of this replica, signed anew when half its life is over.
type serving struct {
	mu        sync.Mutex
	authority *tls.Certificate
	names     []string
	now       func() time.Time
	current   *tls.Certificate
}

func (s *serving) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.current != nil && now.Add(servingLife/2).Before(s.current.Leaf.NotAfter) {
		return s.current, nil
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: s.names[0]}, NotAfter: now.Add(servingLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	certificate, key, err := sign(now, template, s.authority)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	s.current = &pair
	return s.current, nil
}

// sign makes a key and a certificate for it, signed by an authority or by itself, both as PEM.
func sign(now time.Time, template *x509.Certificate, by *tls.Certificate) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.NotBefore = now.Add(-skew)
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	parent, signer := template, any(private)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	secret, keyErr := x509.MarshalPKCS8PrivateKey(private)
	if err = errors.Join(err, keyErr); err != nil {
		return nil, nil, fmt.Errorf("signing the broker's certificate: %w", err)
	}
	var out, keyOut bytes.Buffer
	err = errors.Join(pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.Encode(&keyOut, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return out.Bytes(), keyOut.Bytes(), err
}
