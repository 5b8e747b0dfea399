// Package embedded runs a control plane on this machine with Broletto's manifests installed: what the demo, the tests and the
// benchmark work on. There are no nodes: pods do not run there.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/guard"
)

const (
	// Namespace is where the operator runs.
	Namespace = "broletto-system"
	// account is the operator's service account, which config/rbac makes.
	account = "broletto-operator"
	// tokenLife is longer than any demo, test or benchmark runs.
	tokenLife = 30 * 24 * time.Hour
	// established bounds the wait until the API server serves our kinds.
	established = 30 * time.Second
	// inForce bounds the wait until the admission policies are in force.
	inForce = 30 * time.Second
)

// Cluster is a running control plane.
type Cluster struct{ *kube.ControlPlane }

// Start runs a control plane and installs what config/ holds, before the controller manager looks at the API for the first time.
func Start(ctx context.Context, o kube.Options) (*Cluster, error) {
	o.Prepare = func(ctx context.Context, plane *kube.ControlPlane) error { return (&Cluster{plane}).install(ctx) }
	plane, err := kube.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &Cluster{plane}
	if err := c.guarded(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Attach installs the same on a control plane that runs already; see [kube.Attach].
func Attach(ctx context.Context, dir, server string) (*Cluster, error) {
	plane, err := kube.Attach(dir, server)
	if err != nil {
		return nil, err
	}
	c := &Cluster{plane}
	if err := c.install(ctx); err != nil {
		return nil, err
	}
	return c, c.guarded(ctx)
}

// Config acts as a user with a certificate of the cluster, without a limit of requests.
func (c *Cluster) Config(user string, groups ...string) (*rest.Config, error) {
	cert, key, err := c.ClientCertificate(user, groups...)
	if err != nil {
		return nil, fmt.Errorf("certifying user %s: %w", user, err)
	}
	return &rest.Config{
		Host: c.URL(), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA(), CertData: cert, KeyData: key},
	}, nil
}

// Admin acts as a platform engineer who may do everything, also what the admission policies keep from everybody else.
func (c *Cluster) Admin() (*rest.Config, error) {
	return c.Config(kube.AdminUser, kube.AdminGroup, guard.PlatformGroup)
}

// Operator acts as the operator's own service account, with the rights that config/rbac gives and no others.
func (c *Cluster) Operator(ctx context.Context) (*rest.Config, error) {
	admin, err := c.client()
	if err != nil {
		return nil, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenLife.Seconds()))}}
	operator := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: account}}
	if err := admin.SubResource("token").Create(ctx, operator, request); err != nil {
		return nil, fmt.Errorf("asking for a token of %s: %w", account, err)
	}
	return &rest.Config{
		Host: c.URL(), QPS: -1, BearerToken: request.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA()},
	}, nil
}

func (c *Cluster) client() (client.Client, error) {
	cfg, err := c.Admin()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.New(cfg, client.Options{Scheme: scheme})
}

func (c *Cluster) install(ctx context.Context) error {
	admin, err := c.client()
	if err != nil {
		return err
	}
	crds, err := Apply(ctx, admin, config.CRDs, "crd")
	if err != nil {
		return err
	}
	for _, crd := range crds {
		if err := awaitEstablished(ctx, admin, crd); err != nil {
			return err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := client.IgnoreAlreadyExists(admin.Create(ctx, namespace)); err != nil {
		return fmt.Errorf("creating namespace %s: %w", Namespace, err)
	}
	_, err = Apply(ctx, admin, config.RBAC, "rbac")
	if err != nil {
		return err
	}
	_, err = Apply(ctx, admin, config.Policies, "policies")
	return err
}

// guarded waits until the admission policies judge requests, which takes the API server about a second: somebody who may do everything but
// that is to be refused a namespace that looks managed, and our kinds are to get their finalizers.
func (c *Cluster) guarded(ctx context.Context) error {
	cfg, err := c.Config(kube.AdminUser, kube.AdminGroup)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	admin, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, inForce, true, func(ctx context.Context) (bool, error) {
		last = judged(ctx, admin)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the admission policies: %w", errors.Join(err, last))
	}
	return nil
}

// judged tries what the policies refuse and complete, without effect.
func judged(ctx context.Context, admin client.Client) error {
	managed := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "guard-probe", Labels: map[string]string{v1alpha1.LabelTenant: "guard-probe"}}}
	if err := admin.Create(ctx, managed, client.DryRunAll); !apierrors.IsForbidden(err) {
		return fmt.Errorf("a namespace that looks managed is not refused: %w", err)
	}
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Name: "guard-probe", Namespace: metav1.NamespaceDefault}}
	w.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)}
	if err := admin.Create(ctx, w, client.DryRunAll); err != nil {
		return err
	}
	if len(w.Finalizers) == 0 {
		return errors.New("a workspace gets no finalizer")
	}
	// A policy with parameters finds their kind some time after the others are in force; nothing but the text tells that from a refusal.
	i := &v1alpha1.ServiceInstance{ObjectMeta: metav1.ObjectMeta{Name: "guard-probe", Namespace: metav1.NamespaceDefault}}
	i.Spec = v1alpha1.ServiceInstanceSpec{Offering: "guard-probe", Workspace: "guard-probe"}
	if err := admin.Create(ctx, i, client.DryRunAll); err != nil && strings.Contains(err.Error(), "failed to configure policy") {
		return fmt.Errorf("a policy does not know its parameters yet: %w", err)
	}
	return nil
}

// Apply does what "kubectl apply --server-side" does with the YAML files of a folder, in the order of their names.
func Apply(ctx context.Context, c client.Client, files fs.FS, folder string) (applied []*unstructured.Unstructured, err error) {
	names, err := fs.Glob(files, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		objects, err := Documents(text)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, o := range objects {
			if o.GetKind() == "Kustomization" {
				continue
			}
			if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("broletto-demo"), client.ForceOwnership); err != nil {
				return nil, fmt.Errorf("applying %s %s of %s: %w", o.GetKind(), o.GetName(), name, err)
			}
			applied = append(applied, o)
		}
	}
	return applied, nil
}

func awaitEstablished(ctx context.Context, c client.Client, crd *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, established)
	defer cancel()
	for {
		live := crd.NewEmptyInstance().(*unstructured.Unstructured)
		live.SetGroupVersionKind(crd.GroupVersionKind())
		if err := c.Get(ctx, client.ObjectKeyFromObject(crd), live); err != nil {
			return fmt.Errorf("waiting for %s: %w", crd.GetName(), err)
		}
		conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not served after %s", crd.GetName(), established)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
