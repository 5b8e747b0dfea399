package backups

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/backup"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/repository"
	"github.com/broletto/broletto/operator/restore"
	"github.com/broletto/broletto/operator/volumes"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
	"github.com/broletto/broletto/test/stores"
)

// scene is a stage with what backs up, a repository on a real store, a tenant and its workspace, all Ready.
type scene struct {
	*stage.Stage
	gateway    *stores.Gateway
	escrow     *age.X25519Identity
	repository *v1alpha1.BackupRepository
	tenant     *v1alpha1.Tenant
	workspace  *v1alpha1.Workspace
	comune     client.Client // an administrator of the tenant
	depot      *depot.Depot
	ahead      *atomic.Int64 // how far the clock by which movers are tried again is ahead, in nanoseconds
	mortal     *mortal
	restart    func() // forgets what the operator has in its memory of backups
}

func newScene(t *testing.T, name string, edit ...func(*v1alpha1.BackupRepository)) *scene {
	t.Helper()
	s := &scene{Stage: stage.New(t, name), gateway: stores.NewGateway(t), mortal: &mortal{}}
	s.join()
	var err error
	if s.escrow, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	c := s.Consortium()
	s.tenant = s.Tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.StorageClasses = append(t.Spec.StorageClasses, v1alpha1.StorageClass{Name: s.ID("class")})
	})
	s.gateway.NewLockedBucket(t, "salvataggi")
	s.repository = s.store("primario", "salvataggi", edit...)
	s.Ready(c, s.tenant, s.repository)
	s.workspace = s.Workspace(s.tenant, "sportello")
	s.Ready(s.workspace)
	s.comune = cluster.Client(t, cluster.As("anna", stage.Group(s.tenant.Name, "ict")))
	return s
}

// join has the stage drive the reconcilers of backups.
func (s *scene) join() {
	s.Helper()
	parts, m := s.Parts(), s.mortal
	reading, err := objects.New(m.config(parts.Manager.GetConfig()))
	if err != nil {
		s.Fatal(err)
	}
	commands, err := hooks.New(parts.Manager.GetConfig())
	if err != nil {
		s.Fatal(err)
	}
	operator, err := guard.WhoAmI(s.Context(), parts.Manager.GetConfig())
	if err != nil {
		s.Fatal(err)
	}
	s.ahead = &atomic.Int64{}
	c := writing{parts.Client, m}
	movers := &volumes.Movers{Client: c, Live: s.Live(), Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }, Context: volumes.Context{
		Image: "broletto-mover", Namespace: manager.Namespace, BrokerURL: "https://broker.example", BrokerPort: 9443,
	}}
	d := &depot.Depot{Client: c, Live: s.Live(), Namespace: manager.Namespace}
	s.depot = d
	s.Join(&v1alpha1.BackupRepository{}, &v1alpha1.BackupRepositoryList{}, m.reconciler(reconcile.AsReconciler(c, &repository.Reconciler{Client: c, Live: s.Live(), Depot: d, Movers: movers, Now: parts.Now})))
	s.Join(&v1alpha1.BackupPolicy{}, &v1alpha1.BackupPolicyList{}, m.reconciler(reconcile.AsReconciler(c, &backup.Policies{Client: c, Depot: d, Now: parts.Now})))
	var backups reconcile.Reconciler
	s.restart = func() {
		backups = reconcile.AsReconciler(c, &backup.Backups{
			Client: c, Live: s.Live(), Depot: d, Objects: reading, Movers: movers, Hooks: commands, Now: parts.Now,
		})
	}
	s.restart()
	s.Join(&v1alpha1.Backup{}, &v1alpha1.BackupList{}, m.reconciler(reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
		return backups.Reconcile(ctx, r)
	})))
	s.Join(&v1alpha1.Restore{}, &v1alpha1.RestoreList{}, m.reconciler(reconcile.AsReconciler(c, &restore.Reconciler{
		Client: c, Live: s.Live(), Depot: d, Objects: reading, Movers: movers, Hooks: commands, Now: parts.Now, Operator: operator,
	})))
}

// store makes a repository in a bucket of the gateway, and the Secret with its credentials.
func (s *scene) store(name, bucket string, edit ...func(*v1alpha1.BackupRepository)) *v1alpha1.BackupRepository {
	s.Helper()
	r := &v1alpha1.BackupRepository{ObjectMeta: metav1.ObjectMeta{Name: s.ID(name)}}
	r.Spec = v1alpha1.BackupRepositorySpec{
		Consortium: s.ID("c"), Region: "ch-ticino-1", FailureDomain: "dc-1", Escrow: v1alpha1.AgeRecipient(s.escrow.Recipient().String()),
		S3: v1alpha1.BackupBucket{Endpoint: "http://" + s.gateway.Addr, Bucket: bucket, CredentialsSecret: v1alpha1.SecretName(s.ID(name))},
	}
	account, err := s.gateway.Account()
	if err != nil {
		s.Fatal(err)
	}
	s.Create(&corev1.Secret{ObjectMeta: stage.In(manager.Namespace, s.ID(name)), StringData: map[string]string{
		"access-key-id": account.ID, "secret-access-key": account.Secret,
	}})
	for _, e := range edit {
		e(r)
	}
	s.Create(r)
	return r
}

// locked has a repository ask for an object lock.
func locked(r *v1alpha1.BackupRepository) {
	r.Spec.ObjectLock = &v1alpha1.ObjectLock{Mode: v1alpha1.LockCompliance, Days: 1}
}

// backUp has the comune make a backup, and waits until it is Ready.
func (s *scene) backUp(name string) *v1alpha1.Backup {
	s.Helper()
	b := s.ask(name)
	s.Ready(b)
	return b
}

// ask has the comune ask for a backup.
func (s *scene) ask(name string) *v1alpha1.Backup {
	s.Helper()
	b := &v1alpha1.Backup{ObjectMeta: stage.In(s.tenant.Name, name)}
	b.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(s.workspace.Name), Repository: v1alpha1.RepositoryName(s.repository.Name)}
	s.by(s.comune, b)
	return b
}

// bring has somebody ask for a restore.
func (s *scene) bring(as client.Client, name, backup string, edit ...func(*v1alpha1.Restore)) *v1alpha1.Restore {
	s.Helper()
	r := &v1alpha1.Restore{ObjectMeta: stage.In(s.tenant.Name, name)}
	r.Spec = v1alpha1.RestoreSpec{Backup: backup, Into: v1alpha1.RestoreTarget{Workspace: v1alpha1.WorkspaceName(s.workspace.Name)}}
	for _, e := range edit {
		e(r)
	}
	s.by(as, r)
	return r
}

// by creates an object as somebody.
func (s *scene) by(as client.Client, o client.Object) {
	s.Helper()
	if err := as.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
	s.CaughtUp(o)
}

// secret is one of the workspace's, with a value that nothing else has.
func (s *scene) secret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: stage.In(namespace, name), Data: map[string][]byte{"password": []byte("canarino-" + name + "-\x00\xff")}}
}

func (s *scene) config(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: stage.In(s.workspace.TargetNamespace(), name), Data: map[string]string{"motto": value}}
}

// stalls waits until an object is Stalled for a reason and returns the message.
func (s *scene) stalls(o condition.Object, reason string) string {
	s.Helper()
	return s.Await(o, v1alpha1.ConditionStalled, reason)
}

// stays brings everything to rest, and proves that an operator that begins anew writes nothing either.
func (s *scene) stays() {
	s.Helper()
	s.Rest()
	from := cluster.Mark(s)
	s.restart()
	s.Rest()
	if writes := s.Writes(from); len(writes) > 0 {
		s.Errorf("what is at rest was written to by an operator that begins: %s", strings.Join(writes, "; "))
	}
}

// floors sets what the consortium asks for.
func (s *scene) floors(all ...v1alpha1.BackupFloor) {
	s.Helper()
	c := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: s.ID("c")}}
	stage.Edit(s.Stage, c, func(c *v1alpha1.Consortium) { c.Spec.BackupFloors = all })
}

// content is everything in the bucket.
func (s *scene) content(bucket string) map[string][]byte {
	s.Helper()
	out := map[string][]byte{}
	c := s.gateway.Client(s.T)
	for name := range names(s.Context(), s, bucket) {
		o, err := c.GetObject(s.Context(), bucket, name, getAll)
		if err != nil {
			s.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(o); err != nil {
			s.Fatal(err)
		}
		out[name] = text.Bytes()
	}
	return out
}

func names(ctx context.Context, s *scene, bucket string) map[string]bool {
	out := map[string]bool{}
	for o := range s.gateway.Client(s.T).ListObjectsIter(ctx, bucket, listAll) {
		if o.Err != nil {
			s.Fatal(o.Err)
		}
		out[o.Key] = true
	}
	return out
}

// policy has the comune write a policy.
func (s *scene) policy(name string, edit ...func(*v1alpha1.BackupPolicy)) *v1alpha1.BackupPolicy {
	s.Helper()
	p := &v1alpha1.BackupPolicy{ObjectMeta: stage.In(s.tenant.Name, name)}
	p.Spec = v1alpha1.BackupPolicySpec{
		Workspaces: []v1alpha1.WorkspaceName{v1alpha1.WorkspaceName(s.workspace.Name)}, Repository: v1alpha1.RepositoryName(s.repository.Name),
		Schedule: fmt.Sprintf("30 %d * * *", s.local(s.Now()).Add(-12*time.Hour).Hour()), Retention: v1alpha1.Retention{Last: 2},
	}
	for _, e := range edit {
		e(p)
	}
	s.by(s.comune, p)
	return p
}

// local is an instant by the consortium's clocks.
func (s *scene) local(at time.Time) time.Time {
	s.Helper()
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		s.Fatal(err)
	}
	return at.In(zone)
}

// owned are the backups that a policy made, and how many of them are Ready.
func (s *scene) owned(policy string) (all []v1alpha1.Backup, ready int) {
	s.Helper()
	var list v1alpha1.BackupList
	if err := s.Admin.List(s.Context(), &list, client.InNamespace(s.tenant.Name), client.MatchingLabels{v1alpha1.LabelPolicy: policy}); err != nil {
		s.Fatal(err)
	}
	for i := range list.Items {
		if condition.True(&list.Items[i], v1alpha1.ConditionReady) {
			ready++
		}
	}
	return list.Items, ready
}

// has waits until a policy has so many backups, all Ready.
func (s *scene) has(policy string, want int) {
	s.Helper()
	s.Until(fmt.Sprintf("policy %s has %d backups", policy, want), func() error {
		all, ready := s.owned(policy)
		if len(all) != want || ready != want {
			return fmt.Errorf("it has %d, of which %d are ready", len(all), ready)
		}
		return nil
	})
}
