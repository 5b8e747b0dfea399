package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/archive/bucket"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/s3"
)

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;update
// +kubebuilder:rbac:groups=broletto.dev,resources=backuprepositories;tenants,verbs=list;watch

const (
	// keyID and keySecret are what a Secret of credentials holds.
	keyID     = "access-key-id"
	keySecret = "secret-access-key"
	keyToken  = "session-token"

	// keyOf is what a Secret with a tenant's key holds.
	keyOf = "key"
	// annotationEscrowed names the recipients for whom a tenant's key lies in the bucket, by a hash.
	annotationEscrowed = "broletto.dev/escrowed"

	// soon is when to ask again a store that did not answer.
	soon = time.Minute
)

// Depot opens repositories.
type Depot struct {
	Client    client.Client // the operator's, with its cache of our kinds
	Live      client.Reader // for Secrets, which no cache holds
	Namespace string        // of the operator
}

// Bucket is a repository's, with its credentials as they are now.
func (d *Depot) Bucket(ctx context.Context, r *v1alpha1.BackupRepository) (*bucket.Bucket, error) {
	credentials, err := d.credentials(ctx, r)
	if err != nil {
		return nil, err
	}
	return bucket.New(place(r), func() (s3.Credentials, error) { return credentials, nil })
}

// credentials are those of a repository's store, as they are now.
func (d *Depot) credentials(ctx context.Context, r *v1alpha1.BackupRepository) (s3.Credentials, error) {
	secret := &corev1.Secret{}
	where := client.ObjectKey{Namespace: d.Namespace, Name: string(r.Spec.S3.CredentialsSecret)}
	err := d.Live.Get(ctx, where, secret)
	if apierrors.IsNotFound(err) || (err == nil && (len(secret.Data[keyID]) == 0 || len(secret.Data[keySecret]) == 0)) {
		return s3.Credentials{}, outcome.Stalled(v1alpha1.ReasonCredentialsMissing, "there is no Secret %s with %s and %s: make it with the credentials of the store", where, keyID, keySecret)
	}
	if err != nil {
		return s3.Credentials{}, fmt.Errorf("reading the credentials of repository %s: %w", r.Name, err)
	}
	return s3.Credentials{ID: string(secret.Data[keyID]), Secret: string(secret.Data[keySecret]), Token: string(secret.Data[keyToken])}, nil
}

// place is where a repository's store is.
func place(r *v1alpha1.BackupRepository) s3.Place {
	p := s3.Place{Endpoint: r.Spec.S3.Endpoint, Bucket: r.Spec.S3.Bucket, Region: r.Spec.S3.Region}
	if r.Spec.S3.Prefix != "" {
		p.Prefix = r.Spec.S3.Prefix + "/"
	}
	return p
}

// Find is the repository of that name, ready to be used by the tenant of a home namespace.
func (d *Depot) Find(ctx context.Context, name v1alpha1.RepositoryName, tenant string) (*v1alpha1.BackupRepository, *v1alpha1.Tenant, error) {
	r, t := &v1alpha1.BackupRepository{}, &v1alpha1.Tenant{}
	err := d.Client.Get(ctx, client.ObjectKey{Name: tenant}, t)
	if apierrors.IsNotFound(err) {
		return nil, nil, outcome.Stalled(v1alpha1.ReasonNotAHomeNamespace, "namespace %s is no tenant's home: write it in a home namespace", tenant)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading tenant %s: %w", tenant, err)
	}
	err = d.Client.Get(ctx, client.ObjectKey{Name: string(name)}, r)
	if client.IgnoreNotFound(err) != nil {
		return nil, nil, fmt.Errorf("reading repository %s: %w", name, err)
	}
	if err != nil || r.Spec.Consortium != t.Spec.Consortium {
		return nil, nil, outcome.Stalled(v1alpha1.ReasonRepositoryNotFound, "consortium %s has no backup repository %s: ask the platform which ones it has", t.Spec.Consortium, name)
	}
	if !condition.True(r, v1alpha1.ConditionReady) {
		return nil, nil, &outcome.Wait{Reason: v1alpha1.ReasonRepositoryNotReady, Message: "backup repository " + r.Name + " is not ready: the platform sees in its status why"}
	}
	return r, t, nil
}

// Open is the part of a repository that is a tenant's, with the tenant's key. On first use it makes the key.
func (d *Depot) Open(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant) (archive.Repository, error) {
	store, err := d.Bucket(ctx, r)
	if err != nil {
		return archive.Repository{}, err
	}
	secret, err := d.key(ctx, r, t)
	if err == nil && secret == nil {
		secret, err = d.makeKey(ctx, r, t, store)
	}
	if err != nil {
		return archive.Repository{}, err
	}
	return d.open(ctx, r, t, store, secret)
}

// open is a tenant's part with a key that is there.
func (d *Depot) open(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, store archive.Store, secret *corev1.Secret) (out archive.Repository, err error) {
	out = archive.Repository{Store: store, Tenant: t.Name}
	if r.Spec.ObjectLock != nil {
		out.LockDays = int(r.Spec.ObjectLock.Days)
	}
	if out.Key, err = archive.ParseKey(secret.Data[keyOf]); err != nil {
		return archive.Repository{}, outcome.Stalled(v1alpha1.ReasonKeyLost, "Secret %s/%s is no key: restore it from the bucket with the escrow identity", secret.Namespace, secret.Name)
	}
	return out, d.escrow(ctx, r, t, out, secret)
}

var (
	// ErrNoKey says that a tenant has no key in a repository, and no backups.
	ErrNoKey = errors.New("the tenant has no key in this repository")
	// ErrKeyLost says that a repository has backups of a tenant whose key is not here.
	ErrKeyLost = errors.New("the repository has backups of the tenant, and their key is not here")
)

// Known is the part of a repository that is a tenant's, in its bucket, if its key is here; it makes none: [ErrNoKey], [ErrKeyLost].
func (d *Depot) Known(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, store archive.Store) (archive.Repository, error) {
	secret, err := d.key(ctx, r, t)
	if err != nil {
		return archive.Repository{}, err
	}
	if secret != nil {
		return d.open(ctx, r, t, store, secret)
	}
	places, _, err := archive.Repository{Store: store, Tenant: t.Name}.Places(ctx)
	switch {
	case err != nil:
		return archive.Repository{}, err
	case len(places) > 0:
		return archive.Repository{}, ErrKeyLost
	}
	return archive.Repository{}, ErrNoKey
}

// key is the Secret with the tenant's key; nil: there is none.
func (d *Depot) key(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := d.Live.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: KeyName(r.Name, t.Name)}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of tenant %s: %w", t.Name, err)
	}
	return secret, nil
}

// makeKey makes the tenant's key, unless the bucket has something of the tenant already. Two who make it at once get the same one.
func (d *Depot) makeKey(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, store archive.Store) (*corev1.Secret, error) {
	found, err := store.List(ctx, t.Name+"/")
	if err != nil {
		return nil, Unanswered(r, err)
	}
	if len(found) > 0 {
		return nil, outcome.Stalled(v1alpha1.ReasonKeyLost,
			"backup repository %s has backups of tenant %s, and their key is not here: the platform brings it back with broletto restore-keys and the escrow identity", r.Name, t.Name)
	}
	return d.keep(ctx, r.Name, t.Name, archive.NewKey())
}

// keep makes the Secret with a tenant's key. Where there is one, that is it.
func (d *Depot) keep(ctx context.Context, repository, tenant string, key archive.Key) (*corev1.Secret, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: KeyName(repository, tenant)}, Data: map[string][]byte{keyOf: key.Bytes()}}
	err := d.Client.Create(ctx, secret, client.DisableReadYourWritesConsistency)
	if apierrors.IsAlreadyExists(err) {
		return secret, d.Live.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the key of tenant %s: %w", tenant, err)
	}
	return secret, nil
}

// PutBack puts back a tenant's key that was lost here, and says whether it was. A key that is here stays; another one than that is an error.
func (d *Depot) PutBack(ctx context.Context, repository, tenant string, key archive.Key) (lost bool, err error) {
	err = d.Live.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: KeyName(repository, tenant)}, &corev1.Secret{})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading the key of tenant %s: %w", tenant, err)
	}
	lost = err != nil
	secret, err := d.keep(ctx, repository, tenant, key)
	if err != nil {
		return false, err
	}
	if here, err := archive.ParseKey(secret.Data[keyOf]); err != nil || here != key {
		return false, fmt.Errorf("Secret %s/%s has another key of tenant %s than the bucket: look which of them opens its backups before you delete the Secret", secret.Namespace, secret.Name, tenant) //nolint:staticcheck // it begins with a kind
	}
	return lost, nil
}

// escrow has the key in the bucket, wrapped for the repository's escrow and the tenant's own recipients, before anything is sealed with it.
func (d *Depot) escrow(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, a archive.Repository, secret *corev1.Secret) error {
	recipients := []string{string(r.Spec.Escrow)}
	for _, own := range t.Spec.BackupRecipients {
		recipients = append(recipients, string(own))
	}
	slices.Sort(recipients)
	sum := sha256.Sum256([]byte(strings.Join(recipients, " ")))
	id := hex.EncodeToString(sum[:8])
	if secret.Annotations[annotationEscrowed] == id {
		return nil
	}
	if err := a.SaveKey(ctx, recipients, time.Time{}); err != nil {
		return Unanswered(r, err)
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, annotationEscrowed, id)
	if err := d.Client.Update(ctx, secret, client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("noting that the key of tenant %s is in escrow: %w", t.Name, err)
	}
	return nil
}

// KeyName is the name of the Secret with a tenant's key, in the operator's namespace.
func KeyName(repository, tenant string) string { return "backup-key-" + repository + "." + tenant }

// Unanswered is a wait for a store that failed, told without where it is: tenants read it. Log has the cause.
func Unanswered(r *v1alpha1.BackupRepository, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Failure{Wait: outcome.Wait{
		Reason: v1alpha1.ReasonStoreUnreachable, After: soon, Message: "backup repository " + r.Name + " does not do what it is asked; it is asked again",
	}, Cause: err}
}

// Failure is a store's, with the cause for the operator's log.
type Failure struct {
	outcome.Wait
	Cause error
}

// Unwrap is the wait.
func (f *Failure) Unwrap() error { return &f.Wait }

// Log has the cause of a store's failure, if that is what the error is, in the operator's log.
func Log(ctx context.Context, err error) {
	if failure, is := errors.AsType[*Failure](err); is {
		ctrl.LoggerFrom(ctx).Error(failure.Cause, "a backup repository failed")
	}
}

// Named is how many things a status names of each sort.
const Named = 64

// LeftOut is what a status says of one thing, as far as it has room.
func LeftOut(what, why string) v1alpha1.LeftOut {
	return v1alpha1.LeftOut{What: condition.Cut(what, 512), Why: condition.Cut(why, 1024)}
}

// LostNames names the objects of pages that cannot be read, at most as many as a status has room for.
func LostNames(pages []archive.Lost) (out []string) {
	for _, p := range pages {
		for _, name := range p.Names {
			if len(out) == Named-1 {
				return append(out, "and more")
			}
			out = append(out, p.String()+"/"+name)
		}
	}
	return out
}

// Volumes is where the volumes of a tenant are in a repository, for a mover: the store, the password, and for how many days what is written is locked.
func (d *Depot) Volumes(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, generation int32) (move.Store, string, int, error) {
	a, err := d.Open(ctx, r, t)
	if err != nil {
		return move.Store{}, "", 0, err
	}
	c, err := d.credentials(ctx, r)
	if err != nil {
		return move.Store{}, "", 0, err
	}
	return move.Store{
		Endpoint: r.Spec.S3.Endpoint, Region: r.Spec.S3.Region, Bucket: r.Spec.S3.Bucket,
		Prefix:    place(r).Prefix + fmt.Sprintf("%s/volumes/%d/", t.Name, max(generation, 1)),
		AccessKey: c.ID, SecretKey: c.Secret, SessionToken: c.Token,
	}, a.Key.Password(), a.LockDays, nil
}

// Renew begins a new generation of a tenant's volumes after a damaged one, and says which is current then.
func (d *Depot) Renew(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, damaged int32, why string) (int32, error) {
	a, err := d.Open(ctx, r, t)
	if err != nil {
		return 0, err
	}
	next, err := a.Renew(ctx, damaged, why)
	if err != nil {
		return 0, Unanswered(r, err)
	}
	return next, nil
}

// Port is the port of a repository's store.
func Port(r *v1alpha1.BackupRepository) (int32, error) {
	u, err := url.Parse(r.Spec.S3.Endpoint)
	if err != nil {
		return 0, fmt.Errorf("the endpoint of repository %s: %w", r.Name, err)
	}
	text := u.Port()
	if text == "" {
		text = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return int32(port), err //nolint:gosec // it has 16 bits
}

// Evidence are the records of drills that a policy names and that are in a repository's bucket, unless somebody has deleted them.
func Evidence(p *v1alpha1.BackupPolicy, repository string, now time.Time) (out []v1alpha1.DrillEvidence) {
	for _, w := range p.Status.Workspaces {
		if d := w.Drill; d != nil && d.Evidence != nil && string(d.Evidence.Repository) == repository && now.Before(d.At.AddDate(0, 0, archive.DrillDays-2)) {
			out = append(out, *d.Evidence)
		}
	}
	return out
}
