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
	ended           <-chan struct{}
	end             error // once ended is closed
}

// startStore starts the store that the samples' backups go to, as it was the last time. Somebody may take an address between our look at it and
// the store's: then the next one is tried.
func (d *demo) startStore(ctx context.Context) (s *store, err error) {
	if d.Stores == nil {
		return nil, nil
	}
	dir, err := d.Stores(ctx, d.Out)
	if err != nil {
		return nil, err
	}
	secret, err := d.storeSecret()
	if err != nil {
		return nil, err
	}
	last, err := os.ReadFile(d.path("store.address"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	const anyPort = "127.0.0.1:0"
	for _, address := range []string{strings.TrimSpace(string(last)), storeAddress, anyPort, anyPort, anyPort} {
		if address, err = free(ctx, address); err != nil {
			continue
		}
		s = &store{address: address, secret: secret}
		if err = s.start(ctx, d, filepath.Join(dir, "versitygw")); err == nil {
			return s, os.WriteFile(d.path("store.address"), []byte(address), 0o600)
		}
		if !errors.Is(err, errTaken) {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("starting the store of backups: %w; its log is %s", err, d.path("store.log"))
}

// storeSecret is made on first use.
func (d *demo) storeSecret() (string, error) {
	text, err := os.ReadFile(d.path("store.secret"))
	if errors.Is(err, os.ErrNotExist) {
		secret := rand.Text()
		return secret, os.WriteFile(d.path("store.secret"), []byte(secret), 0o600)
	}
	return strings.TrimSpace(string(text)), err
}

// free is an address on which nothing listens: this one, or any where its port is 0.
func free(ctx context.Context, address string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts the store's process and waits until it answers.
func (s *store) start(ctx context.Context, d *demo, program string) error {
	root, versions := d.path("store"), d.path("store.versions")
	for _, folder := range []string{root, versions} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	log, err := os.Create(d.path("store.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	s.command = exec.CommandContext(context.WithoutCancel(ctx), program, "--port", s.address, "--quiet", "posix", "--versioning-dir", versions, root)
	s.command.Env = []string{"ROOT_ACCESS_KEY_ID=" + storeUser, "ROOT_SECRET_ACCESS_KEY=" + s.secret, "HOME=" + d.Dir}
	s.command.Stdout, s.command.Stderr = log, log
	exited, err := kube.Spawn(s.command)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { s.end = <-exited; close(ended) }()
	s.ended = ended
	if err := s.serves(ctx); err != nil {
		s.stop()
		return err
	}
	return nil
}

// errTaken is of an address where another answers than our store.
var errTaken = errors.New("it ended, or another store answers in its place")

// serves waits until the store answers, and knows our secret.
func (s *store) serves(ctx context.Context) error {
	bucket, err := s.bucket("none", "us-east-1")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	for {
		_, err := bucket.List(ctx, "")
		switch {
		case s3.Denied(err):
			return errTaken
		case s3.Refused(err): // there is no such bucket
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-s.ended:
			return errors.Join(errTaken, s.end)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *store) endpoint() string { return "http://" + s.address }

func (s *store) bucket(name, region string) (*s3.Bucket, error) {
	account := s3.Credentials{ID: storeUser, Secret: s.secret}
	return s3.Open(s3.Place{Endpoint: s.endpoint(), Bucket: name, Region: region}, func() (s3.Credentials, error) { return account, nil })
}

func (s *store) stop() {
	if s == nil {
		return
	}
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	<-s.ended
}

// furnish makes what a platform engineer makes beside a BackupRepository: the bucket, with object lock, and the Secret with the credentials. It
// has the repository name the address that the store is at.
func (d *demo) furnish(ctx context.Context, repository *unstructured.Unstructured) error {
	r := &v1alpha1.BackupRepository{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(repository.Object, r); err != nil {
		return err
	}
	bucket, err := d.store.bucket(r.Spec.S3.Bucket, cmp.Or(r.Spec.S3.Region, "us-east-1"))
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
	return unstructured.SetNestedField(repository.Object, d.store.endpoint(), "spec", "s3", "endpoint")
}
