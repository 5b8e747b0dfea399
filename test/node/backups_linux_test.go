package node

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
	"github.com/broletto/broletto/test/stores"
)

const (
	// archivio is the workspace that is backed up.
	archivio = "lugano--archivio"
	// storeAddress is in the world, at a port that the chart lets the operator out to.
	storeAddress = "10.20.0.10:6443"
	// backupPatience is how long a backup or a restore may take.
	backupPatience = 5 * time.Minute
)

// TestBackups has a comune back a workspace up into a store outside the cluster, and bring it back, with the operator in its pod.
func TestBackups(t *testing.T) {
	cities(t)
	s := newSafe(t)
	t.Run("Objects", s.objects)
	t.Run("Dumps", s.dumps)
	t.Run("Database", s.database)
	t.Run("Hooks", s.hooks)
}

// safe is a workspace and a repository that it is backed up into.
type safe struct {
	store      *stores.Gateway
	escrow     *age.X25519Identity
	repository *v1alpha1.BackupRepository
	workspace  *v1alpha1.Workspace
	c          client.Client // of the comune's administrator
}

func newSafe(t *testing.T) *safe {
	t.Helper()
	escrow, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := &safe{store: stores.NewGatewayIn(t, world(t), storeAddress), escrow: escrow}
	_, s.c = the.as(t, "administrator", "lugano:ict")
	s.repository = s.repositoryIn(t, "salvataggi")
	s.workspace = &v1alpha1.Workspace{ObjectMeta: stage.In("lugano", "archivio")}
	s.workspace.Spec = v1alpha1.WorkspaceSpec{
		Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false), DeletionPolicy: v1alpha1.DeletionDelete,
		Quota:   v1alpha1.Quota{"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "4", "limits.memory": "2Gi", "requests.storage": "2Gi", "pods": "20"},
		Storage: &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "dati", Size: "512Mi"}}},
	}
	if err := s.c.Create(t.Context(), s.workspace); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, s.workspace)
	ready(t, s.workspace)
	return s
}

// world is what is outside the cluster; pods and the operator find what serves there.
func world(t *testing.T) *stores.Network {
	t.Helper()
	world, err := process("cmdline", the.dir, "probe\x00serve", "--name=world")
	if err != nil {
		t.Fatal(err)
	}
	return &stores.Network{
		Enter: []string{"nsenter", "--target=" + strconv.Itoa(world), "--net"},
		Dial: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = within(world, func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, address); return err })
			return c, err
		},
	}
}

// repositoryIn has the platform make a repository in a bucket that locks what is written, and waits until it was proven.
func (s *safe) repositoryIn(t *testing.T, bucket string) *v1alpha1.BackupRepository {
	t.Helper()
	admin := the.admin(t)
	if err := s.store.Client(t).MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	secret, r := s.files(t, bucket)
	for _, o := range []client.Object{secret, r} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		the.deleteAfter(t, admin, o)
	}
	s.ready(t, r)
	if !condition.True(r, v1alpha1.ConditionWormProven) {
		t.Errorf("its lock was not proven: %+v", r.Status.Conditions)
	}
	return r
}

// files are what the platform has written about a bucket: the credentials for it, and the repository.
func (s *safe) files(t *testing.T, bucket string) (*corev1.Secret, *v1alpha1.BackupRepository) {
	t.Helper()
	account, err := s.store.Account()
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: stage.In(system, "backup-"+bucket), StringData: map[string]string{"access-key-id": account.ID, "secret-access-key": account.Secret}}
	r := &v1alpha1.BackupRepository{ObjectMeta: metav1.ObjectMeta{Name: bucket}}
	r.Spec = v1alpha1.BackupRepositorySpec{
		Consortium: "ticino", Region: "ch-ticino-1", FailureDomain: "dc-2", Escrow: v1alpha1.AgeRecipient(s.escrow.Recipient().String()),
		S3:         v1alpha1.BackupBucket{Endpoint: "http://" + s.store.Addr, Bucket: bucket, CredentialsSecret: v1alpha1.SecretName(secret.Name)},
		ObjectLock: &v1alpha1.ObjectLock{Mode: v1alpha1.LockCompliance, Days: 1},
	}
	return secret, r
}

// ready waits until an object is, and says what the pods of the workspace do if it never is.
func (s *safe) ready(t *testing.T, o condition.Object) {
	t.Helper()
	admin := the.admin(t)
	cluster.Eventually(t, backupPatience, o.GetName()+" is ready", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if !condition.True(o, v1alpha1.ConditionReady) {
			return fmt.Errorf("it says %+v\n%s", *o.GetConditions(), pods.Explain(t.Context(), admin, archivio))
		}
		return nil
	})
}

// gone deletes an object and waits until it is no more, also after the test.
func (b *box) gone(t *testing.T, as client.Client, o client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := as.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
		t.Error(err)
		return
	}
	cluster.Eventually(t, 2*time.Minute, o.GetName()+" is gone", func() error {
		err := as.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil {
			said := ""
			if one, is := o.(condition.Object); is {
				said = fmt.Sprintf(", and says %+v", *one.GetConditions())
			}
			return fmt.Errorf("it is there, with finalizers %v%s", o.GetFinalizers(), said)
		}
		return client.IgnoreNotFound(err)
	})
}

// deleteAfter has an object gone when the test is over, unless the cluster went before, or goes now.
func (b *box) deleteAfter(t *testing.T, as client.Client, o client.Object) {
	t.Helper()
	dir := b.dir
	t.Cleanup(func() {
		if b.dir == dir && !b.last {
			b.gone(t, as, o)
		}
	})
}

// backUp has the comune make a backup, and waits until it was read back.
func (s *safe) backUp(t *testing.T, name string) *v1alpha1.Backup {
	t.Helper()
	b := &v1alpha1.Backup{ObjectMeta: stage.In("lugano", name)}
	b.Spec = v1alpha1.BackupSpec{Workspace: "archivio", Repository: v1alpha1.RepositoryName(s.repository.Name)}
	if err := s.c.Create(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, b)
	s.ready(t, b)
	return b
}

// bring has the comune bring a backup back into the workspace.
func (s *safe) bring(t *testing.T, name, backup string, conflicts v1alpha1.Conflicts) *v1alpha1.Restore {
	t.Helper()
	r := &v1alpha1.Restore{ObjectMeta: stage.In("lugano", name)}
	r.Spec = v1alpha1.RestoreSpec{Backup: backup, Into: v1alpha1.RestoreTarget{Workspace: "archivio", Conflicts: conflicts}, Mode: v1alpha1.RestoreApply}
	if err := s.c.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, r)
	s.ready(t, r)
	return r
}

// objects come back as they were.
func (s *safe) objects(t *testing.T) {
	motto, code := papers()
	for _, o := range []client.Object{motto, code} {
		if err := s.c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	b := s.backUp(t, "oggetti")
	for _, o := range []client.Object{motto, code} {
		the.gone(t, s.c, o)
	}
	s.bring(t, "oggetti", b.Name, v1alpha1.ConflictsSkip)
	s.wantPapers(t)
}

// papers are objects of the workspace.
func papers() (*corev1.ConfigMap, *corev1.Secret) {
	return &corev1.ConfigMap{ObjectMeta: stage.In(archivio, "motto"), Data: map[string]string{"motto": "digital first"}},
		&corev1.Secret{ObjectMeta: stage.In(archivio, "codice"), Data: map[string][]byte{"codice": []byte("riservato\x00")}}
}

// wantPapers holds that they are there, as they were.
func (s *safe) wantPapers(t *testing.T) {
	t.Helper()
	motto, code := papers()
	for _, o := range []client.Object{motto, code} {
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Error(err)
		}
	}
	if motto.Data["motto"] != "digital first" || string(code.Data["codice"]) != "riservato\x00" {
		t.Errorf("what came back is %v and %q", motto.Data, code.Data)
	}
}
