package backups

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/archive/bucket"
	"github.com/broletto/broletto/operator/s3"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

var (
	getAll  = minio.GetObjectOptions{}
	listAll = minio.ListObjectsOptions{Recursive: true}
)

// TestStory: what a comune does with a backup, all with its own rights.
func TestStory(t *testing.T) {
	t.Parallel()
	s := newScene(t, "story", locked)
	if got := stage.Condition(s.repository, v1alpha1.ConditionWormProven); !strings.Contains(got, "True") {
		t.Errorf("the lock: %s", got)
	}
	namespace := s.workspace.TargetNamespace()
	secret, config := s.secret(namespace, "db"), s.config("app", "digital first")
	s.Create(secret)
	s.Create(config)
	b := s.backUp("prima")
	if b.Status.Sequence != 1 || b.Status.Objects < 2 || b.Status.VerifiedAt == nil || len(b.Status.Manifest) != 64 {
		t.Errorf("its status is %+v", b.Status)
	}
	s.silent(secret, "salvataggi")

	t.Run("nothing unchanged is written twice", func(t *testing.T) {
		s := s.on(t)
		pages := func() (n int) {
			for name := range names(t.Context(), s, "salvataggi") {
				if strings.Contains(name, "/objects/") {
					n++
				}
			}
			return n
		}
		before := pages()
		second := s.backUp("seconda")
		if after := pages(); after != before || second.Status.Sequence != 2 {
			t.Errorf("there were %d pages and are %d; its number is %d", before, after, second.Status.Sequence)
		}
	})
	t.Run("what is deleted comes back", func(t *testing.T) {
		s := s.on(t)
		before := s.Content(secret)
		s.Remove(secret)
		stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = "changed" })
		r := s.bring(s.comune, "indietro", b.Name)
		s.Ready(r)
		if r.Status.Creates != 1 || r.Status.Skipped != 1 || r.Status.Requester != "anna" {
			t.Errorf("its status is %+v", r.Status)
		}
		if err := stage.Same(before, s.Content(secret)); err != nil {
			t.Error(err)
		}
		if s.Read(config); config.Data["motto"] != "changed" {
			t.Error("what was there and differs was changed, though conflicts are skipped")
		}
		again := s.bring(s.comune, "di-nuovo", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into.Conflicts = v1alpha1.ConflictsReplace })
		s.Ready(again)
		if s.Read(config); config.Data["motto"] != "digital first" || again.Status.Replaced != 1 || again.Status.Creates != 0 {
			t.Errorf("the config map has %v, and the status is %+v", config.Data, again.Status)
		}
	})
	t.Run("a dry run writes nothing", func(t *testing.T) {
		s := s.on(t)
		s.Remove(config)
		r := s.bring(s.comune, "prova", b.Name, func(r *v1alpha1.Restore) { r.Spec.Mode = v1alpha1.RestoreDryRun })
		s.Ready(r)
		if r.Status.Creates != 1 || s.Exists(config) {
			t.Errorf("its status is %+v, and the object is there: %v", r.Status, s.Exists(config))
		}
		stage.Edit(s.Stage, r, func(r *v1alpha1.Restore) { r.Spec.Mode = v1alpha1.RestoreApply })
		s.Ready(r)
		if !s.Exists(config) {
			t.Error("it was set to Apply, and nothing came back")
		}
	})
	t.Run("into a new workspace", func(t *testing.T) {
		s := s.on(t)
		r := s.bring(s.comune, "confronto", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "confronto"} })
		s.Ready(r)
		copied := s.secret(s.tenant.Name+"--confronto", "db")
		want := copied.Data["password"]
		if s.Read(copied); !bytes.Equal(copied.Data["password"], want) {
			t.Errorf("the secret is %q", copied.Data)
		}
		taken := s.bring(s.comune, "preso", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "sportello"} })
		s.stalls(taken, v1alpha1.ReasonWorkspaceExists)
	})
	t.Run("the bucket and the escrow are enough", func(t *testing.T) {
		s := s.on(t)
		store := s.open("salvataggi")
		found, err := archive.Rebuild(t.Context(), store, s.escrow.String())
		if err != nil || len(found) != 1 || found[0].Tenant != s.tenant.Name || len(found[0].Chains["sportello"].Records) != 2 {
			t.Fatalf("found %+v: %v", found, err)
		}
	})
}

// TestWho: with whose rights a restore is done.
func TestWho(t *testing.T) {
	t.Parallel()
	s := newScene(t, "who", func(*v1alpha1.BackupRepository) {})
	namespace := s.workspace.TargetNamespace()
	secret := s.secret(namespace, "db")
	s.Create(secret)
	role := &rbacv1.Role{ObjectMeta: stage.In(namespace, "reader"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}}}
	s.Create(role)
	b := s.backUp("prima")
	s.Remove(secret)
	s.Remove(role)

	t.Run("a requester who may not", func(t *testing.T) {
		s := s.on(t)
		// bruno is nobody in the workspace: he may write restores in the home namespace and nothing else.
		s.Create(&rbacv1.Role{ObjectMeta: stage.In(s.tenant.Name, "restorer"), Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"broletto.dev"}, Resources: []string{"restores"}, Verbs: []string{"create"},
		}}})
		s.Create(&rbacv1.RoleBinding{
			ObjectMeta: stage.In(s.tenant.Name, "restorer"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "restorer"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bruno"}},
		})
		bruno := cluster.Client(t, cluster.As("bruno"))
		r := s.bring(bruno, "di-bruno", b.Name)
		s.stalls(r, v1alpha1.ReasonPartlyRestored)
		if len(r.Status.Refused) == 0 || r.Status.Creates != 0 || s.Exists(secret) {
			t.Errorf("its status is %+v", r.Status)
		}
		made := s.bring(bruno, "di-bruno-nuovo", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "di-bruno"} })
		s.stalls(made, v1alpha1.ReasonNotAllowed)
	})
	t.Run("roles only on request", func(t *testing.T) {
		s := s.on(t)
		s.Ready(s.bring(s.comune, "senza", b.Name))
		if !s.Exists(secret) || s.Exists(role) {
			t.Errorf("the secret is there: %v, the role: %v", s.Exists(secret), s.Exists(role))
		}
		s.Ready(s.bring(s.comune, "con", b.Name, func(r *v1alpha1.Restore) { r.Spec.Bindings = v1alpha1.BindingsRestore }))
		if !s.Exists(role) {
			t.Error("the role was asked for")
		}
	})
	t.Run("not into another tenant", func(t *testing.T) {
		s := s.on(t)
		other := s.Tenant("b")
		s.Ready(other)
		w := s.Workspace(other, "sportello")
		s.Ready(w)
		carla := cluster.Client(t, cluster.As("carla", stage.Group(other.Name, "ict")))
		r := &v1alpha1.Restore{ObjectMeta: stage.In(other.Name, "rubato")}
		r.Spec = v1alpha1.RestoreSpec{Backup: b.Name, Into: v1alpha1.RestoreTarget{Workspace: "sportello"}}
		s.by(carla, r)
		s.stalls(r, v1alpha1.ReasonBackupNotFound)
		s.Try("carla", cluster.As("carla", stage.Group(other.Name, "ict")), stage.Attempts{
			"reading a backup":   stage.Forbidden("it is another's", stage.Reading(b)),
			"restoring there":    stage.Forbidden("it is another's", stage.Making(&v1alpha1.Restore{ObjectMeta: stage.In(s.tenant.Name, "x"), Spec: r.Spec})),
			"reading the key":    stage.Forbidden("it is the operator's", stage.Reading(&corev1.Secret{ObjectMeta: stage.In("broletto-system", "backup-key-"+s.repository.Name+"."+other.Name)})),
			"reading the bucket": stage.Forbidden("it is the platform's", stage.Reading(s.repository)),
		})
	})
}

// on is the scene for a subtest.
func (s *scene) on(t *testing.T) *scene {
	out := *s
	out.Stage = s.On(t)
	return &out
}

// open is the bucket as the operator opens it.
func (s *scene) open(name string) archive.Store {
	s.Helper()
	b, err := bucket.New(s3.Place{Endpoint: "http://" + s.gateway.Addr, Bucket: name, Region: "us-east-1"}, s.gateway.Account)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// silent fails when a secret's value is in the bucket, in any encoding.
func (s *scene) silent(secret *corev1.Secret, bucket string) {
	s.Helper()
	for name, content := range s.content(bucket) {
		for _, value := range secret.Data {
			for _, text := range [][]byte{value, []byte(base64.StdEncoding.EncodeToString(value)), bytes.TrimRight(value, "\x00\xff")} {
				if bytes.Contains(content, text) {
					s.Errorf("%s has a secret in it", name)
				}
			}
		}
	}
}
