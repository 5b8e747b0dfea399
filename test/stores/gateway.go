package stores

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/test/cluster"
)

// Gateway is an S3 store with one bucket.
type Gateway struct {
	Addr   string
	Bucket string
	// Folder has its credentials, as the operator reads them.
	Folder string
}

// NewGateway starts a gateway that ends with the test. Buckets that a test makes may keep versions, and lock them.
func NewGateway(t *testing.T) *Gateway {
	t.Helper()
	dir, err := kube.BuildStores(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{Addr: cluster.FreeAddress(t), Bucket: "stati"}
	root, versions := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(root, g.Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	g.Folder = Folder(t, map[string]string{"access-key-id": "broletto", "secret-access-key": "segreto-del-deposito"})
	run(t, process{
		path:   filepath.Join(dir, "versitygw"),
		args:   []string{"--port", g.Addr, "--quiet", "posix", "--versioning-dir", versions, root},
		env:    []string{"ROOT_ACCESS_KEY_ID=broletto", "ROOT_SECRET_ACCESS_KEY=segreto-del-deposito", "HOME=" + root},
		serves: func() error { return listens(g.Addr) },
	})
	return g
}

// Store is the address of the state store in the gateway, under a prefix, reached by some address.
func (g *Gateway) Store(addr, prefix string) *url.URL {
	query := url.Values{"endpoint": {"http://" + addr}, "region": {"us-east-1"}}
	return &url.URL{Scheme: "s3", Host: g.Bucket, Path: "/" + prefix, RawQuery: query.Encode()}
}
