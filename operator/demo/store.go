package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/s3"
)

const (
	// storeAddress is where the samples say that their store is. Another address is taken when something listens there.
	storeAddress = "127.0.0.1:9000"
	storeUser    = "broletto"
	// storePatience bounds the start of the store.
	storePatience = 30 * time.Second
)

// store is an S3 store over a folder of the demo, on loopback.
type store struct {
	address, secret string
	command         *exec.Cmd
	ended           <-chan error
}

// startStore starts the store that the samples' backups go to, as it was the last time.
func (d *demo) startStore(ctx context.Context) (s *store, err error) {
	if d.Stores == nil {
		return nil, nil
	}
	dir, err := d.Stores(ctx, d.Out)
	if err != nil {
		return nil, err
	}
	s = &store{}
	if s.address, err = d.remembered("store.address", func() (string, error) { return freeAddress(ctx) }); err != nil {
		return nil, err
	}
	if s.secret, err = d.remembered("store.secret", func() (string, error) { return rand.Text(), nil }); err != nil {
		return nil, err
	}
	root, versions := d.path("store"), d.path("store.versions")
	for _, folder := range []string{root, versions} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(d.path("store.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	s.command = exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(dir, "versitygw"), "--port", s.address, "--quiet", "posix", "--versioning-dir", versions, root)
	s.command.Env = []string{"ROOT_ACCESS_KEY_ID=" + storeUser, "ROOT_SECRET_ACCESS_KEY=" + s.secret, "HOME=" + d.Dir}
	s.command.Stdout, s.command.Stderr = log, log
	if s.ended, err = kube.Spawn(s.command); err != nil {
		return nil, fmt.Errorf("starting the store of backups: %w", err)
	}
	if err := s.serves(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("starting the store of backups at %s: %w; its log is %s", s.address, err, log.Name())
	}
	return s, nil
}

// remembered is a setting of the demo's folder, made on first use.
func (d *demo) remembered(name string, first func() (string, error)) (string, error) {
	text, err := os.ReadFile(d.path(name))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	value, err := first()
	if err != nil {
		return "", err
	}
	return value, os.WriteFile(d.path(name), []byte(value+"\n"), 0o600)
}

// freeAddress is the samples' own, or another one on which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	for _, address := range []string{storeAddress, "127.0.0.1:0"} {
		if l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address); err == nil {
			address = l.Addr().String()
			return address, l.Close()
		}
	}
	return "", errors.New("nothing can listen on 127.0.0.1")
}

// serves waits until the store answers.
func (s *store) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *store) stop() {
	if s == nil {
		return
	}
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = s.wait()                                  // by our signal
}

// wait is how it ended.
func (s *store) wait() error { return <-s.ended }

// furnish makes what a platform engineer makes beside a BackupRepository: the bucket, with object lock, and the Secret with the credentials. It
// has the repository name the address that the store is at.
func (d *demo) furnish(ctx context.Context, repository *unstructured.Unstructured) error {
	r := &v1alpha1.BackupRepository{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(repository.Object, r); err != nil {
		return err
	}
	account := s3.Credentials{ID: storeUser, Secret: d.store.secret}
	place := s3.Place{Endpoint: "http://" + d.store.address, Bucket: r.Spec.S3.Bucket, Region: cmp.Or(r.Spec.S3.Region, "us-east-1")}
	bucket, err := s3.Open(place, func() (s3.Credentials, error) { return account, nil })
	if err != nil {
		return err
	}
	if err := bucket.Make(ctx); err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: manager.Namespace, Name: string(r.Spec.S3.CredentialsSecret)}, StringData: map[string]string{
		"access-key-id": storeUser, "secret-access-key": d.store.secret,
	}}
	if err := client.IgnoreAlreadyExists(d.client.Create(ctx, secret)); err != nil {
		return fmt.Errorf("making Secret %s: %w", secret.Name, err)
	}
	return unstructured.SetNestedField(repository.Object, place.Endpoint, "spec", "s3", "endpoint")
}
