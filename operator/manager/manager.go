// Package manager assembles the operator process: cache, client, controllers, collectors, probes, leader election. It
// decides nothing about any kind.
package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/consortium"
	"github.com/broletto/broletto/operator/evidence"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/isolation"
	"github.com/broletto/broletto/operator/tenant"
	"github.com/broletto/broletto/operator/workspace"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=create;get;update,namespace=broletto-system

const (
	// leaseName is the lease that the leader holds, in the operator's namespace.
	leaseName = "broletto"

	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// grace is how long a stop waits for reconciles under way.
	grace = 20 * time.Second
)

// Namespace is where the operator runs unless it is told otherwise.
const Namespace = "broletto-system"

// Options are what differs between a cluster, the demo and a test.
type Options struct {
	// Namespace is where the operator runs, keeps its lease and finds the evidence about the network; empty: Namespace.
	Namespace string
	// LeaderElection lets several replicas run, of which one works.
	LeaderElection bool
	// MetricsAddress serves /metrics over HTTPS to who may read it; "0" serves none.
	MetricsAddress string
	// CertDir holds tls.crt and tls.key of the metrics server; empty: a self-signed certificate.
	CertDir string
	// ProbeAddress serves /healthz and /readyz; "0" serves none.
	ProbeAddress string
	// PlatformGroup may do what the admission policies keep from everybody but the operator; empty: guard.PlatformGroup.
	PlatformGroup string
	// BrokerAddress serves runners of stacks over HTTPS; empty or "0" serves none.
	BrokerAddress string
	// BrokerURL is where runners find the broker; empty: at the address it listens on.
	BrokerURL string
	// RunnerImage is what the pods of runs run.
	RunnerImage string
	// MoverImage is what the pods run that move volumes into stores of backups and back.
	MoverImage string
	// StateStore is where states of stacks are kept: "secrets", or an address s3://… or postgres://…; empty: in Secrets.
	StateStore string
	// StateStoreCredentials is the folder of its credentials, read again whenever they are used.
	StateStoreCredentials string
	// SourceRanges are ranges of private addresses that sources of stacks may be fetched from, such as 10.20.0.0/16.
	SourceRanges []string
	// Stacks says how stacks are run; nil: New makes it where there is a BrokerAddress.
	Stacks *Stacks
	// Now is the clock; nil: the machine's.
	Now func() time.Time
}

// New assembles a manager that works on the cluster of the configuration.
func New(cfg *rest.Config, o Options) (ctrl.Manager, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Namespace = cmp.Or(o.Namespace, Namespace)
	mgr, err := Connect(cfg, o)
	if err != nil {
		return nil, err
	}
	if o.Stacks == nil {
		if o.Stacks, err = runs(mgr, o); err != nil {
			return nil, err
		}
	}
	return mgr, errors.Join(controllers(mgr, o), probes(mgr))
}

// Connect is New without controllers and probes: the operator's cache and client alone, for tests that call Reconcile by hand.
func Connect(cfg *rest.Config, o Options) (ctrl.Manager, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's own fairness bounds us, not a guess made here
	cfg.UserAgent = "broletto"
	options, err := options(cfg, o)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, options)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster at %s: %w", cfg.Host, err)
	}
	return mgr, nil
}

func options(cfg *rest.Config, o Options) (ctrl.Options, error) {
	scheme, err := Scheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	options := ctrl.Options{
		Scheme: scheme,
		Cache:  cacheOptions(cmp.Or(o.Namespace, Namespace)),
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
		Metrics: metricsserver.Options{
			BindAddress: o.MetricsAddress, SecureServing: true, CertDir: o.CertDir,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:        o.ProbeAddress,
		LeaderElection:                o.LeaderElection,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration), RenewDeadline: new(renewDeadline), RetryPeriod: new(retryPeriod),
		GracefulShutdownTimeout: new(grace),
		Controller:              config.Controller{EnableWarmup: new(true), ReconciliationTimeout: time.Minute},
	}
	if o.LeaderElection {
		options.LeaderElectionResourceLockInterface, err = lock(cfg, o.Namespace)
	}
	return options, err
}

// lock is a lease that announces no leader by events: a restart writes nothing but the lease.
func lock(cfg *rest.Config, namespace string) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("naming this replica: %w", err)
	}
	identity := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	return resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, leaseName, identity, cfg, renewDeadline)
}

// Scheme knows the kinds that the operator reads and writes, and no more: each costs memory.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(admissionv1.AddToScheme, authenticationv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme, storagev1.AddToScheme,
		discoveryv1.AddToScheme, v1alpha1.AddToScheme)
	return scheme, builder.AddToScheme(scheme)
}

// cacheOptions keep the cache small: of what tenants can have many of, only what is ours; of config maps, one; of nodes, that they are
// there; of managed fields, at most a time.
func cacheOptions(namespace string) cache.Options {
	ours := labelled(v1alpha1.LabelOwner)
	return cache.Options{
		DefaultTransform: isolation.KeepLastWrite,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ServiceAccount{}:        ours,
			&corev1.ResourceQuota{}:         {Label: ours.Label, Transform: lean},
			&corev1.LimitRange{}:            ours,
			&corev1.PersistentVolumeClaim{}: ours,
			&networkingv1.NetworkPolicy{}:   ours,
			&rbacv1.RoleBinding{}:           ours,
			&batchv1.Job{}:                  labelled(v1alpha1.LabelRun),
			&corev1.Pod{}:                   labelled(v1alpha1.LabelRun),
			&corev1.Node{}:                  {Transform: bare},
			&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{
				namespace: {FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, evidence.Name)},
			}},
		},
	}
}

// labelled keeps what carries a label.
func labelled(name string) cache.ByObject {
	requirement, err := labels.NewRequirement(name, selection.Exists, nil)
	if err != nil {
		panic(err) // the label's name is a constant
	}
	return cache.ByObject{Label: labels.NewSelector().Add(*requirement)}
}

// lean is what the cache keeps of a quota: limits that are counted stand in it twice, and are held once.
func lean(in any) (any, error) {
	out, err := isolation.KeepLastWrite(in)
	if q, isQuota := out.(*corev1.ResourceQuota); isQuota && equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard) {
		q.Status.Hard = q.Spec.Hard
	}
	return out, err
}

// bare is what the cache keeps of a node: which one it is.
func bare(in any) (any, error) {
	if node, isMetadata := in.(*metav1.PartialObjectMetadata); isMetadata {
		node.Labels, node.Annotations, node.ManagedFields = nil, nil, nil
	}
	return in, nil
}

func controllers(mgr ctrl.Manager, o Options) error {
	c := client.WithFieldOwner(mgr.GetClient(), apply.FieldManager)
	applier := &apply.Applier{Client: c, Live: mgr.GetAPIReader()}
	recorder := mgr.GetEventRecorder("broletto")
	operator, err := whoAmI(mgr)
	if err != nil {
		return err
	}
	keeper, err := policies(operator, o.PlatformGroup)
	if err != nil {
		return err
	}
	keeper.Client, keeper.Events = c, recorder
	tenants := &tenant.Reconciler{Client: c, Apply: applier, Events: recorder, Now: o.Now, Namespace: o.Namespace}
	if o.Stacks != nil {
		tenants.Keys = o.Stacks.Keys
	}
	return errors.Join(
		keeper.SetupWithManager(mgr),
		(&consortium.Reconciler{Client: c}).SetupWithManager(mgr),
		tenants.SetupWithManager(mgr),
		(&workspace.Reconciler{Client: c, Apply: applier, Events: recorder, Now: o.Now}).SetupWithManager(mgr),
		stacks(mgr, c, recorder, o),
		catalogue(mgr, c, recorder, o),
		backups(mgr, c, operator, o),
		metrics.Registry.Register(keeper.Collector(mgr.GetCache())),
		metrics.Registry.Register(isolation.Collector(mgr.GetCache(), standing(mgr, keeper), o.Now)),
		metrics.Registry.Register(consortium.Collector(mgr.GetCache())),
		metrics.Registry.Register(tenant.Collector(mgr.GetCache())),
		metrics.Registry.Register(workspace.Collector(mgr.GetCache())),
	)
}

// standing tells which admission policies are in force.
func standing(mgr ctrl.Manager, keeper *guard.Reconciler) isolation.Standing {
	return func(ctx context.Context) (map[string]bool, error) {
		return guard.Standing(ctx, mgr.GetCache(), keeper.Policies, keeper.Revision)
	}
}

// whoAmI is the operator's own user name.
func whoAmI(mgr ctrl.Manager) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), renewDeadline)
	defer cancel()
	return guard.WhoAmI(ctx, mgr.GetConfig())
}

// policies are the admission policies as this operator, of that user name, keeps them.
func policies(operator, platform string) (*guard.Reconciler, error) {
	if platform == "" {
		platform = guard.PlatformGroup
	}
	wanted, err := guard.Policies(operator, platform)
	if err != nil {
		return nil, err
	}
	revision, err := guard.Revision()
	return &guard.Reconciler{Policies: wanted, Revision: revision}, err
}

func probes(mgr ctrl.Manager) error {
	synced := func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the cache has not caught up with the API server")
		}
		return nil
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("cache", synced))
}
