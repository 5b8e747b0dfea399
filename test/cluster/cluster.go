// Package cluster is what the tests of a package share: one real control plane with our kinds installed, and clients of it.
// It imports no operator package, so that every test can import it.
//
//	func TestMain(m *testing.M) { cluster.Run(m) }
//
// A test makes its own namespace and looks at nothing else; tests of cluster-scoped kinds make up their own names.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/hack/kube"
)

// startup bounds the time to a usable cluster. The first start on a machine compiles Kubernetes, which takes minutes.
const startup = 20 * time.Minute

var plane *kube.ControlPlane

// Run starts the control plane, runs the tests of the package, stops it and exits. When a test panics or calls os.Exit,
// the kernel ends the control plane with the test binary; only its temporary folder is then left.
func Run(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), startup)
	defer cancel()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "test/cluster: no cluster to test against:", err)
		return 1
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "test/cluster: stopping:", err)
			code = max(code, 1)
		}
	}()
	return m.Run()
}

func start(ctx context.Context) (err error) {
	if plane, err = kube.Start(ctx, kube.Options{Progress: slow{since: time.Now()}}); err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return errors.Join(fmt.Errorf("installing the CRDs: %w", err), plane.Stop())
	}
	return nil
}

// slow passes on what is said after some seconds: the steps of a usual start are noise, those of a long build are not.
type slow struct{ since time.Time }

func (s slow) Write(line []byte) (int, error) {
	if time.Since(s.since) < 10*time.Second {
		return len(line), nil
	}
	return os.Stderr.Write(line)
}

// install applies the CRDs that users install and waits until the API server serves their kinds.
func install(ctx context.Context) error {
	c, err := client.New(Admin(), client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	files, err := fs.Glob(config.CRDs, "crd/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		manifest, err := config.CRDs.ReadFile(file)
		if err != nil {
			return err
		}
		crds, err := apply(ctx, c, manifest)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, crd := range crds {
			if err := poll(ctx, 30*time.Second, func() error { return served(ctx, c, crd) }); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// served says why a CRD's kind cannot be used yet; nil when it can.
func served(ctx context.Context, c client.Client, crd *unstructured.Unstructured) error {
	if err := c.Get(ctx, client.ObjectKeyFromObject(crd), crd); err != nil {
		return err
	}
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("not established: %v", conditions)
}

// Plane is the package's control plane.
func Plane() *kube.ControlPlane { return plane }

// Admin may do everything. No client made from it waits for a rate limit.
func Admin() *rest.Config { return As(kube.AdminUser, kube.AdminGroup) }

// As is the configuration of a user in groups, who proves it with a certificate as people do, not by impersonation.
func As(user string, groups ...string) *rest.Config {
	cert, key, err := plane.ClientCertificate(user, groups...)
	if err != nil {
		panic(fmt.Sprintf("test/cluster: a certificate for %s: %v", user, err)) // the key was made by us, so it is a bug
	}
	return &rest.Config{
		Host:            plane.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: plane.CA(), CertData: cert, KeyData: key},
		UserAgent:       user,
		QPS:             -1,
	}
}

// Scheme knows the kinds of Kubernetes and ours. It is shared; nobody may add to it.
var Scheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
})

// Client reads from and writes to the API server, without a cache.
func Client(t testing.TB, cfg *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(cfg, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatalf("a client of %s: %v", cfg.Host, err)
	}
	return c
}
