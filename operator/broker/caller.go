package broker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

const (
	// remembered is how long an answer about a token holds: so long a pod that is gone may still be answered, unless it lost its lock.
	remembered = 10 * time.Second
	// maxRemembered bounds how many are remembered.
	maxRemembered = 1024
	// maxReviews bounds how many tokens are looked at at once, whoever sends them.
	maxReviews = 16

	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
)

// pod is who sent a request, as the API server vouches for it.
type pod struct {
	namespace, name string
	uid, run, job   types.UID
}

// caller is the pod of a run that has not ended.
type caller struct {
	pod
	run *v1alpha1.StackRun
}

func (c *caller) stack() vault.Stack {
	return vault.Stack{Tenant: c.run.Namespace, UID: c.run.Spec.StackUID}
}

// callers finds out who calls.
type callers struct {
	Options
	reviews chan struct{}

	mu    sync.Mutex
	known map[[sha256.Size]byte]answer
}

type answer struct {
	pod   pod
	until time.Time
}

func newCallers(o Options) *callers {
	return &callers{Options: o, reviews: make(chan struct{}, maxReviews), known: map[[sha256.Size]byte]answer{}}
}

// caller is the pod that calls; everybody but the pods of Jobs that work for something is refused.
func (c *callers) caller(r *http.Request) (pod, error) {
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || token == "" {
		return pod{}, forbidden("there is no bearer token: send that of audience %s", run.Audience)
	}
	return c.pod(r.Context(), token)
}

// find is who calls; everybody but the pod of a run that goes on is refused.
func (c *callers) find(r *http.Request) (*caller, error) {
	p, err := c.caller(r)
	if err != nil {
		return nil, err
	}
	found, err := c.runOf(r.Context(), p)
	if err != nil {
		return nil, err
	}
	switch {
	case found.TargetNamespace() != p.namespace || found.Status.JobUID != p.job:
		return nil, forbidden("pod %s/%s is not of the Job of run %s", p.namespace, p.name, found.Name)
	case found.Finished():
		return nil, forbidden("run %s has ended", found.Name)
	}
	return &caller{pod: p, run: found}, nil
}

// pod is the pod that a token is bound to; what the API server said is remembered for a while.
func (c *callers) pod(ctx context.Context, token string) (pod, error) {
	key := sha256.Sum256([]byte(token))
	c.mu.Lock()
	a, isKnown := c.known[key]
	c.mu.Unlock()
	if isKnown && c.Now().Before(a.until) {
		return a.pod, nil
	}
	select {
	case c.reviews <- struct{}{}:
		defer func() { <-c.reviews }()
	case <-ctx.Done():
		return pod{}, ctx.Err()
	}
	p, err := c.review(ctx, token)
	if err != nil {
		return pod{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxRemembered { // rare; asking again is cheap
		clear(c.known)
	}
	c.known[key] = answer{p, c.Now().Add(remembered)}
	return p, nil
}

// review asks the API server whose token it is, and looks at that pod.
func (c *callers) review(ctx context.Context, token string) (pod, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{run.Audience}}}
	if err := c.Live.Create(ctx, review); err != nil {
		return pod{}, fmt.Errorf("asking the API server about a token: %w", err)
	}
	account, isAccount := strings.CutPrefix(review.Status.User.Username, "system:serviceaccount:")
	namespace, _, _ := strings.Cut(account, ":")
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, run.Audience) || !isAccount {
		return pod{}, forbidden("the token is not valid for audience %s, or its pod is gone", run.Audience)
	}
	p := pod{namespace: namespace, name: only(review, extraPodName), uid: types.UID(only(review, extraPodUID))}
	if p.name == "" || p.uid == "" {
		return pod{}, forbidden("the token is not bound to a pod")
	}
	live := &corev1.Pod{}
	err := c.Live.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.name}, live)
	if client.IgnoreNotFound(err) != nil {
		return pod{}, fmt.Errorf("reading pod %s/%s: %w", p.namespace, p.name, err)
	}
	owner := metav1.GetControllerOf(live)
	if apierrors.IsNotFound(err) || live.UID != p.uid || live.Status.Phase == corev1.PodSucceeded || live.Status.Phase == corev1.PodFailed {
		return pod{}, forbidden("pod %s/%s is gone", p.namespace, p.name)
	}
	if owner == nil || owner.Kind != "Job" || owner.APIVersion != batchv1.SchemeGroupVersion.String() || live.Labels[v1alpha1.LabelRun] == "" {
		return pod{}, forbidden("pod %s/%s is not of a run", p.namespace, p.name)
	}
	p.run, p.job = types.UID(live.Labels[v1alpha1.LabelRun]), owner.UID
	return p, nil
}

// runOf is the run that a pod says it is of. A cache may be behind: what it does not know, or knows without its Job, is read at the API server.
func (c *callers) runOf(ctx context.Context, p pod) (*v1alpha1.StackRun, error) {
	home, _, _ := strings.Cut(p.namespace, "--")
	for _, reader := range []client.Reader{c.Runs, c.Live} {
		var all v1alpha1.StackRunList
		if err := reader.List(ctx, &all, client.InNamespace(home), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("looking for the run of pod %s/%s: %w", p.namespace, p.name, err)
		}
		i := slices.IndexFunc(all.Items, func(r v1alpha1.StackRun) bool { return r.UID == p.run })
		if i >= 0 && all.Items[i].Status.JobUID != "" {
			return all.Items[i].DeepCopy(), nil
		}
		if i >= 0 && reader == client.Reader(c.Live) {
			return nil, later("the Job of run %s is not noted yet: ask again", all.Items[i].Name)
		}
	}
	return nil, forbidden("there is no run of pod %s/%s", p.namespace, p.name)
}

func only(r *authenticationv1.TokenReview, extra string) string {
	if values := r.Status.User.Extra[extra]; len(values) == 1 {
		return values[0]
	}
	return ""
}
