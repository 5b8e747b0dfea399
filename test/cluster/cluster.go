// Package cluster is what the tests of a package share: one real control plane with our kinds installed, and clients of it.
//
//	func TestMain(m *testing.M) { cluster.Run(m) }
//
// A test makes its own namespace and looks at nothing else; tests of cluster-scoped kinds make up their own names.
package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/guard"
)

// startup bounds the time to a usable cluster. The first start on a machine compiles Kubernetes, which takes minutes.
const startup = 20 * time.Minute

var plane *embedded.Cluster

// Run starts the control plane, runs the tests of the package, stops it and exits. When a test panics or calls os.Exit,
// the kernel ends the control plane with the test binary; only its temporary folder is then left.
func Run(m *testing.M) {
	log.SetLogger(logr.Discard()) // has no effect in a package that has set one before
	os.Exit(run(m))
}

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
	plane, err = embedded.Start(ctx, kube.Options{Progress: slow{since: time.Now()}})
	return err
}

// slow passes on what is said after some seconds: the steps of a usual start are noise, those of a long build are not.
type slow struct{ since time.Time }

func (s slow) Write(line []byte) (int, error) {
	if time.Since(s.since) < 10*time.Second {
		return len(line), nil
	}
	return os.Stderr.Write(line)
}

// Plane is the package's control plane.
func Plane() *embedded.Cluster { return plane }

// Admin may do everything, also what the admission policies keep from everybody but the operator: it breaks the glass wherever it has
// to. No client made from it waits for a rate limit.
func Admin() *rest.Config { return As(kube.AdminUser, kube.AdminGroup, guard.PlatformGroup) }

// ClusterAdmin may do what RBAC allows, which is everything, and what the admission policies let anybody do, which is not.
func ClusterAdmin() *rest.Config { return As(kube.AdminUser, kube.AdminGroup) } //nolint:revive // cluster-admin is what Kubernetes calls it

// As is the configuration of a user in groups, who proves it with a certificate as people do, not by impersonation.
func As(user string, groups ...string) *rest.Config {
	cfg, err := plane.Config(user, groups...)
	if err != nil {
		panic(fmt.Sprintf("test/cluster: %v", err)) // the key was made by us, so it is a bug
	}
	cfg.UserAgent = user
	return cfg
}

// Account acts as a service account, by a token of it.
func Account(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	account, request := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, &authenticationv1.TokenRequest{}
	if err := Client(t, Admin()).SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatalf("a token of account %s in %s: %v", name, namespace, err)
	}
	cfg := rest.AnonymousClientConfig(Admin())
	cfg.BearerToken = request.Status.Token
	return cfg
}

// Operator acts as the operator's service account: what config/rbac does not give is forbidden.
func Operator(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := plane.Operator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
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

// FreeAddress is a loopback address at which nobody listens now. Somebody may before it is used; then what was to listen there says so.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
