package stack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/vault"
)

// material is what a run is made of beside its code. It holds secrets.
type material struct {
	inputs      map[string]json.RawMessage
	secret      []string
	credentials map[string][]byte
	digests     inputs
}

// keyFunc is [Vault.Key], or [Vault.KnownKey] where nothing is written.
type keyFunc func(context.Context, vault.Stack) ([]byte, error)

// gather reads what a stack names. A Secret is taken only if its owner says by a label what it is for: who may write stacks and not
// read Secrets would else have a stack print any of them.
func (r *Reconciler) gather(ctx context.Context, s *v1alpha1.Stack, keyOf keyFunc) (m material, err error) {
	m.inputs = make(map[string]json.RawMessage, len(s.Spec.Variables))
	for name, value := range s.Spec.Variables {
		m.inputs[name] = value.Raw
	}
	for _, from := range s.Spec.VariablesFrom {
		data, err := r.secret(ctx, s, string(from.Secret), v1alpha1.UseStackVariables, from.Presence == v1alpha1.Required)
		if err != nil {
			return m, err
		}
		for name, value := range data {
			text, err := json.Marshal(string(value))
			if err != nil {
				return m, err
			}
			m.inputs[name] = text
			m.secret = append(m.secret, name)
		}
	}
	slices.Sort(m.secret)
	m.secret = slices.Compact(m.secret)
	if name := credentialsOf(s); name != "" {
		if m.credentials, err = r.secret(ctx, s, name, v1alpha1.UseSourceCredentials, true); err != nil {
			return m, err
		}
	}
	key, err := keyOf(ctx, of(s))
	if err != nil {
		return m, fmt.Errorf("reading the key of stack %s: %w", s.Name, err)
	}
	m.digests, err = m.digest(s, key)
	return m, err
}

func credentialsOf(s *v1alpha1.Stack) string {
	switch {
	case s.Spec.Source.Git != nil:
		return string(s.Spec.Source.Git.Secret)
	case s.Spec.Source.OCI != nil:
		return string(s.Spec.Source.OCI.Secret)
	}
	return ""
}

// secret is the content of a Secret of the home namespace, which has to say by a label that it is for this use.
func (r *Reconciler) secret(ctx context.Context, s *v1alpha1.Stack, name, use string, required bool) (map[string][]byte, error) {
	var secret corev1.Secret
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &secret)
	switch {
	case apierrors.IsNotFound(err) && !required:
		return nil, nil
	case apierrors.IsNotFound(err):
		return nil, outcome.Stalled(v1alpha1.ReasonSecretNotUsable, "there is no Secret %s in %s: make it, with the label %s: %s", name, s.Namespace, v1alpha1.LabelUse, use)
	case err != nil:
		return nil, fmt.Errorf("reading Secret %s in %s: %w", name, s.Namespace, err)
	case secret.Labels[v1alpha1.LabelUse] != use:
		return nil, outcome.Stalled(v1alpha1.ReasonSecretNotUsable, "Secret %s lacks the label %s: %s, by which its owner lets stacks use it", name, v1alpha1.LabelUse, use)
	}
	return secret.Data, nil
}

// digest is over all that decides the result of a run. It is keyed: a short secret could else be found by trying.
func (m material) digest(s *v1alpha1.Stack, key []byte) (inputs, error) {
	all, err := keyed(key, struct {
		Engine     v1alpha1.EngineName
		Source     v1alpha1.StackSource
		Inputs     map[string]json.RawMessage
		Secret     []string
		MaxDestroy *int32
		Protected  []v1alpha1.ResourceAddress
	}{s.Spec.Engine, s.Spec.Source, m.inputs, m.secret, s.Spec.MaxDestroy, s.Spec.Protected})
	if err != nil {
		return inputs{}, fmt.Errorf("digesting the inputs of stack %s: %w", s.Name, err)
	}
	credentials, err := keyed(key, m.credentials)
	return inputs{all: all, credentials: credentials}, err
}

// keyed digests a value with a key; maps are written in sorted order.
func keyed(key []byte, value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return "hmac-sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
