package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Beside this it needs what it may do with Secrets everywhere: the outputs of stacks are Secrets of tenants.
//
// +kubebuilder:rbac:groups="",resources=secrets,verbs=list,namespace=broletto-system
// +kubebuilder:rbac:groups="",resources=secrets,verbs=create;delete;get;update

const (
	// labelVault marks what belongs to the vault: a whole, which has the name of what it holds, or a part of one.
	labelVault = "broletto.dev/vault"
	whole      = "whole"
	part       = "part"
	// labelGroup is a name up to its first dot, so that a listing need not read the others.
	labelGroup = "broletto.dev/vault-group"
	// labelOf is the digest of the name of the whole that a part belongs to.
	labelOf = "broletto.dev/vault-of"

	// partSize is well below what a Secret and a request to etcd may hold.
	partSize = 700 << 10

	// keyData is what a whole or a part holds; keyParts, instead, which parts a whole is made of, as <generation>.<number>.
	keyData  = "data"
	keyParts = "parts"
)

// Secrets is a store in the Secrets of one namespace. What is larger than one Secret is written in parts first, under names that nobody
// else uses, then the whole that names them: a crash leaves parts that nobody names, which go with the next write.
type Secrets struct {
	client    client.Client
	namespace string
}

// NewSecrets is a store in a namespace. The client must read from the API server, not from a cache.
func NewSecrets(c client.Client, namespace string) *Secrets {
	return &Secrets{client: c, namespace: namespace}
}

// Read implements [Store].
func (s *Secrets) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	last := ""
	for range attempts {
		secret := &corev1.Secret{}
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, secret); err != nil {
			return nil, "", found(err)
		}
		parts, inParts := secret.Data[keyParts]
		version = versionOf(secret, inParts)
		if !inParts {
			return secret.Data[keyData], version, nil
		}
		data, err = s.join(ctx, name, string(parts))
		if !errors.Is(err, ErrNotFound) {
			return data, version, err
		}
		if version == last { // its parts went although nobody wrote a newer one
			return nil, "", fmt.Errorf("the Secret %s/%s names parts that are not there: restore it from a backup", s.namespace, name)
		}
		last = version
	}
	return nil, "", fmt.Errorf("reading Secret %s/%s: it is written faster than it is read: %w", s.namespace, name, ErrConflict)
}

// join reads the parts of a whole.
func (s *Secrets) join(ctx context.Context, name, parts string) ([]byte, error) {
	generation, number, _ := strings.Cut(parts, ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("the Secret %s/%s names parts %q, which this operator does not write: upgrade it", s.namespace, name, parts)
	}
	var data []byte
	for i := range n {
		secret := &corev1.Secret{}
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: partName(name, generation, i)}, secret); err != nil {
			return nil, found(err)
		}
		data = append(data, secret.Data[keyData]...)
	}
	return data, nil
}

// Write implements [Store].
func (s *Secrets) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	resource, wasInParts := strings.CutSuffix(version, inParts)
	head := s.secret(name, whole)
	head.Labels[labelGroup] = group(name)
	head.ResourceVersion = resource
	large := len(data) > partSize
	head.Data = map[string][]byte{keyData: data}
	generation := ""
	if large {
		if generation, err = s.split(ctx, name, data); err != nil {
			return "", err
		}
		head.Data = map[string][]byte{keyParts: fmt.Appendf(nil, "%s.%d", generation, (len(data)+partSize-1)/partSize)}
	}
	var old []string
	if large || wasInParts { // listed before the whole is written: what another writer adds after that may become part of the next whole
		if old, err = s.parts(ctx, name, generation); err != nil {
			return "", err
		}
	}
	if version == "" {
		err = s.client.Create(ctx, head)
	} else {
		err = s.client.Update(ctx, head)
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || version != "" && apierrors.IsNotFound(err) {
		s.discard(ctx, name, generation)
		return "", ErrConflict
	}
	if err != nil { // it may have been written all the same: its parts stay
		return "", fmt.Errorf("writing Secret %s/%s: %w", s.namespace, name, err)
	}
	for _, name := range old {
		_ = s.remove(ctx, name) // the next write finds it
	}
	return versionOf(head, large), nil
}

// split writes parts and returns what they have in common in their names.
func (s *Secrets) split(ctx context.Context, name string, data []byte) (generation string, err error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	generation = hex.EncodeToString(random[:])
	i := 0
	for chunk := range slices.Chunk(data, partSize) {
		secret := s.secret(partName(name, generation, i), part)
		secret.Labels[labelOf] = digest(name)
		secret.Immutable = new(true)
		secret.Data = map[string][]byte{keyData: chunk}
		if err := s.client.Create(ctx, secret); err != nil {
			return "", fmt.Errorf("writing part %d of Secret %s/%s: %w", i, s.namespace, name, err)
		}
		i++
	}
	return generation, nil
}

// discard takes away the parts of a whole that was not written, if it can.
func (s *Secrets) discard(ctx context.Context, name, generation string) {
	if generation == "" {
		return
	}
	all, err := s.parts(ctx, name, "")
	if err != nil {
		return
	}
	for _, candidate := range all {
		if strings.HasPrefix(candidate, partPrefix(name, generation)) {
			_ = s.remove(ctx, candidate)
		}
	}
}

// parts are the names of all parts of a name but for those of a generation.
func (s *Secrets) parts(ctx context.Context, name, but string) (out []string, err error) {
	all, err := s.list(ctx, client.MatchingLabels{labelVault: part, labelOf: digest(name)})
	for _, candidate := range all {
		if but == "" || !strings.HasPrefix(candidate, partPrefix(name, but)) {
			out = append(out, candidate)
		}
	}
	return out, err
}

// Delete implements [Store]. The whole goes first: parts without one are garbage, a whole without its parts would be broken.
func (s *Secrets) Delete(ctx context.Context, name string) error {
	if err := s.remove(ctx, name); err != nil {
		return err
	}
	parts, err := s.parts(ctx, name, "")
	if err != nil {
		return err
	}
	for _, name := range parts {
		if err := s.remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// List implements [Store].
func (s *Secrets) List(ctx context.Context, prefix string) (names []string, err error) {
	which := client.MatchingLabels{labelVault: whole}
	if strings.Contains(prefix, ".") {
		which[labelGroup] = group(prefix)
	}
	all, err := s.list(ctx, which)
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

func (s *Secrets) list(ctx context.Context, which client.MatchingLabels) (names []string, err error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := s.client.List(ctx, list, client.InNamespace(s.namespace), which); err != nil {
		return nil, fmt.Errorf("listing Secrets of %s: %w", s.namespace, err)
	}
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names, nil
}

func (s *Secrets) remove(ctx context.Context, name string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	if err := client.IgnoreNotFound(s.client.Delete(ctx, secret)); err != nil {
		return fmt.Errorf("deleting Secret %s/%s: %w", s.namespace, name, err)
	}
	return nil
}

func (s *Secrets) secret(name, role string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{labelVault: role}},
		Type:       "broletto.dev/vault",
	}
}

// inParts at the end of a version says that there are parts to take away.
const inParts = "+parts"

func versionOf(s *corev1.Secret, large bool) string {
	if large {
		return s.ResourceVersion + inParts
	}
	return s.ResourceVersion
}

func partPrefix(name, generation string) string { return name + ".part-" + generation + "-" }

func partName(name, generation string, i int) string {
	return partPrefix(name, generation) + strconv.Itoa(i)
}

// group is a label's value: the name up to its first dot, or the digest of that if it is too long.
func group(name string) string {
	first, _, _ := strings.Cut(name, ".")
	if len(first) > 63 {
		return digest(first)
	}
	return cmp.Or(first, "none")
}

func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func found(err error) error {
	if apierrors.IsNotFound(err) {
		return ErrNotFound
	}
	return err
}
