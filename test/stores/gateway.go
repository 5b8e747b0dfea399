package stores

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/s3"
	"github.com/broletto/broletto/test/cluster"
)

// Gateway is an S3 store with one bucket, which keeps no versions.
type Gateway struct {
	Addr   string
	Bucket string
	// Folder has its credentials, as the operator reads them.
	Folder string

	network *Network
	program string
	folders folders
	stop    func()
}

// folders are where a gateway keeps what it has.
type folders struct{ buckets, versions, accounts string }

// Network is one that is not the test's own.
type Network struct {
	// Enter is what a command line begins with that is to be run there.
	Enter []string
	// Dial connects to an address there.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	accessKey = "broletto"
	secretKey = "segreto-del-deposito"
)

// NewGateway starts a gateway that ends with the test. Buckets that a test makes may keep versions, and lock them.
func NewGateway(t *testing.T) *Gateway {
	t.Helper()
	return NewGatewayIn(t, &Network{Dial: (&net.Dialer{}).DialContext}, cluster.FreeAddress(t))
}

// NewGatewayIn starts a gateway at an address of a network.
func NewGatewayIn(t *testing.T, network *Network, addr string) *Gateway {
	t.Helper()
	dir, err := kube.BuildStores(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{Addr: addr, Bucket: "stati", network: network, program: filepath.Join(dir, "versitygw"), folders: folders{t.TempDir(), t.TempDir(), t.TempDir()}}
	if err := os.Mkdir(filepath.Join(g.folders.buckets, g.Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	g.Folder = Folder(t, map[string]string{"access-key-id": accessKey, "secret-access-key": secretKey})
	g.serve(t)
	return g
}

// Move ends the gateway and starts it anew in another network, at the same address there, with all that it has.
func (g *Gateway) Move(t *testing.T, network *Network) {
	t.Helper()
	g.stop()
	g.network = network
	g.serve(t)
}

func (g *Gateway) serve(t *testing.T) {
	t.Helper()
	f := g.folders
	command := slices.Concat(g.network.Enter, []string{g.program, "--port", g.Addr, "--quiet", "--iam-dir", f.accounts, "--iam-cache-disable", "posix", "--versioning-dir", f.versions, f.buckets})
	g.stop = run(t, process{
		path: command[0], args: command[1:],
		env: []string{"ROOT_ACCESS_KEY_ID=" + accessKey, "ROOT_SECRET_ACCESS_KEY=" + secretKey, "HOME=" + f.buckets},
		serves: func() error {
			conn, err := g.network.Dial(t.Context(), "tcp", g.Addr)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	})
}

// Account is that of its root.
func (*Gateway) Account() (s3.Credentials, error) {
	return s3.Credentials{ID: accessKey, Secret: secretKey}, nil
}

// Client speaks to the gateway as its root.
func (g *Gateway) Client(t *testing.T) *minio.Client {
	t.Helper()
	client, err := minio.New(g.Addr, &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1", Transport: &http.Transport{DialContext: g.network.Dial, DisableCompression: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// NewLockedBucket makes another bucket, which keeps versions and locks.
func (g *Gateway) NewLockedBucket(t *testing.T, name string) {
	t.Helper()
	if err := g.Client(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
}

// Store is the address of the state store in the gateway, under a prefix, reached by some address.
func (g *Gateway) Store(addr, prefix string) *url.URL {
	query := url.Values{"endpoint": {"http://" + addr}, "region": {"us-east-1"}}
	return &url.URL{Scheme: "s3", Host: g.Bucket, Path: "/" + prefix, RawQuery: query.Encode()}
}

// NewAccount makes an account that may do everything in all buckets.
func (g *Gateway) NewAccount(t *testing.T, id, secret string) {
	t.Helper()
	g.administer(t, "create-user", "--access", id, "--secret", secret, "--role", "admin")
}

// NewUser makes an account that may do what a policy of a bucket lets it, and nothing else. In the policy, USER and BUCKET stand for them.
func (g *Gateway) NewUser(t *testing.T, id, secret, bucket, policy string) {
	t.Helper()
	g.administer(t, "create-user", "--access", id, "--secret", secret, "--role", "user")
	policy = strings.NewReplacer("USER", id, "BUCKET", bucket).Replace(policy)
	if err := g.Client(t).SetBucketPolicy(t.Context(), bucket, policy); err != nil {
		t.Fatal(err)
	}
}

// Revoke takes an account away.
func (g *Gateway) Revoke(t *testing.T, id string) {
	t.Helper()
	g.administer(t, "delete-user", "--access", id)
}

func (g *Gateway) administer(t *testing.T, args ...string) {
	t.Helper()
	all := append([]string{"admin", "--access", accessKey, "--secret", secretKey, "--endpoint-url", "http://" + g.Addr}, args...)
	if said, err := exec.CommandContext(t.Context(), g.program, all...).CombinedOutput(); err != nil {
		t.Fatalf("versitygw %v: %v: %s", args, err, said)
	}
}
