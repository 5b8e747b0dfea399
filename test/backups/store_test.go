package backups

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/stage"
)

// TestStore fails in several ways: nothing is Ready then, and all goes on when it serves again.
func TestStore(t *testing.T) {
	t.Parallel()
	way := &way{}
	s := newScene(t, "store", way.through(t))
	config := s.config("app", "digital first")
	s.Create(config)

	t.Run("down in a backup", func(t *testing.T) {
		s := s.on(t)
		var pages atomic.Int32
		way.is(func(w http.ResponseWriter, r *http.Request, store http.Handler) {
			if isPage(r, http.MethodPut) || pages.Load() > 0 {
				pages.Add(1)
				down(w, r, store)
			}
			store.ServeHTTP(w, r)
		})
		b := s.ask("prima")
		s.doubts(b)
		if b.Status.VerifiedAt != nil || b.Status.Sequence != 0 || pages.Load() == 0 {
			t.Errorf("its status is %+v", b.Status)
		}
		way.is(clear)
		s.goesOn(b)
		if b.Status.Sequence != 1 || len(s.files("/manifests/")) != 1 {
			t.Errorf("it is number %d, and the bucket has %v", b.Status.Sequence, s.files("/manifests/"))
		}
	})
	t.Run("truncating", func(t *testing.T) {
		s := s.on(t)
		stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = "second" })
		way.is(truncating("/"))
		b := s.ask("seconda")
		s.waits(b)
		way.is(truncating("/objects/"))
		s.Until("its manifest is written", func() error {
			s.At(s.Now().Add(time.Minute))
			if all := s.files("/manifests/"); len(all) != 2 {
				return fmt.Errorf("there are %v", all)
			}
			return nil
		})
		s.waits(b) // its pages cannot be read back
		if b.Status.VerifiedAt != nil {
			t.Errorf("its status is %+v", b.Status)
		}
		way.is(clear)
		s.goesOn(b)
		if b.Status.Sequence != 2 || len(s.files("/manifests/")) != 2 {
			t.Errorf("it is number %d, and the bucket has %v", b.Status.Sequence, s.files("/manifests/"))
		}
	})
	t.Run("lying of pages", func(t *testing.T) {
		s := s.on(t)
		stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = "third" })
		way.is(lying)
		b := s.ask("terza")
		s.stalls(b, v1alpha1.ReasonDamaged)
		if !strings.Contains(strings.Join(b.Status.Lost, " "), "configmaps/app") {
			t.Errorf("lost is %v", b.Status.Lost)
		}
		way.is(clear)
		s.backUp("quarta")
	})
	t.Run("slow", func(t *testing.T) {
		s := s.on(t)
		way.is(slow)
		defer way.is(clear)
		s.backUp("quinta")
	})
	t.Run("down in a restore", func(t *testing.T) {
		s := s.on(t)
		s.Remove(config)
		way.is(down)
		r := s.bring(s.comune, "indietro", "quarta")
		s.doubts(r)
		if r.Status.FinishedAt != nil || s.Exists(config) {
			t.Errorf("its status is %+v", r.Status)
		}
		way.is(clear)
		s.goesOn(r)
		if s.Read(config); config.Data["motto"] != "third" {
			t.Errorf("the config map has %v", config.Data)
		}
	})
	t.Run("the backup is deleted in its restore", func(t *testing.T) {
		s := s.on(t)
		b := &v1alpha1.Backup{ObjectMeta: stage.In(s.tenant.Name, "quarta")}
		s.Read(b)
		s.Remove(config)
		r := s.bring(s.comune, "in-corsa", b.Name)
		reached, goes := make(chan struct{}), make(chan struct{})
		var once atomic.Bool
		way.is(func(w http.ResponseWriter, r *http.Request, store http.Handler) {
			if isPage(r, http.MethodGet) && once.CompareAndSwap(false, true) {
				close(reached)
				<-goes
			}
			store.ServeHTTP(w, r)
		})
		done := make(chan error, 1)
		go func() {
			_, err := s.Reconcile(r)
			done <- err
		}()
		<-reached
		s.Remove(b)
		for s.Exists(b) {
			if _, err := s.Reconcile(b); err != nil {
				t.Fatal(err)
			}
		}
		close(goes)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.Ready(r)
		if !s.Exists(config) || len(s.files("/removed/")) != 1 {
			t.Errorf("the config map is there: %v, and the bucket has %v", s.Exists(config), s.files("/removed/"))
		}
		s.stalls(s.bring(s.comune, "tardi", b.Name), v1alpha1.ReasonBackupNotFound)
	})
}

// waits brings an object to wait for its store.
func (s *scene) waits(o condition.Object) {
	s.Helper()
	s.unready(o, v1alpha1.ReasonStoreUnreachable)
}

// unready looks at everything, a minute later each time, until an object is not Ready for one of some reasons.
func (s *scene) unready(o condition.Object, reasons ...string) {
	s.Helper()
	s.Until(o.GetName()+" is not Ready", func() error {
		s.At(s.Now().Add(time.Minute))
		s.Read(o)
		got := stage.Condition(o, v1alpha1.ConditionReady)
		for _, reason := range reasons {
			if strings.HasPrefix(got, "False "+reason) {
				return nil
			}
		}
		return fmt.Errorf("it says %q, want %v", got, reasons)
	})
}

// doubts waits until the repository of an object that waits for its store is not Ready either.
func (s *scene) doubts(o condition.Object) {
	s.Helper()
	s.unready(s.repository, v1alpha1.ReasonStoreUnreachable)
	s.unready(o, v1alpha1.ReasonStoreUnreachable, v1alpha1.ReasonRepositoryNotReady)
}

// goesOn waits until the repository and an object are Ready again.
func (s *scene) goesOn(o condition.Object) {
	s.Helper()
	s.At(s.Now().Add(time.Minute))
	s.Ready(s.repository, o)
}

// TestCredentials are rotated, revoked, and tried whether they may more than they need.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := newScene(t, "credentials", locked)
	s.Create(s.config("app", "digital first"))
	secret := &corev1.Secret{ObjectMeta: stage.In(manager.Namespace, s.repository.Name)}
	use := func(id, key string) {
		stage.Edit(s.Stage, secret, func(o *corev1.Secret) {
			o.Data = map[string][]byte{"access-key-id": []byte(id), "secret-access-key": []byte(key)}
		})
	}
	s.gateway.NewAccount(t, "nuovo", "segreto-nuovo")
	use("nuovo", "segreto-nuovo")
	s.backUp("prima")

	s.gateway.Revoke(t, "nuovo")
	b := s.ask("seconda")
	s.doubts(b)
	if b.Status.VerifiedAt != nil {
		t.Errorf("its status is %+v", b.Status)
	}
	if message := stage.Condition(b, v1alpha1.ConditionReady); strings.Contains(message, s.gateway.Addr) || strings.Contains(message, "nuovo") {
		t.Errorf("tenants read %q", message)
	}
	s.gateway.NewAccount(t, "ancora", "segreto-ancora")
	use("ancora", "segreto-ancora")
	s.goesOn(b)
	if b.Status.Sequence != 2 || len(s.files("/manifests/")) != 2 {
		t.Errorf("it is number %d, and the bucket has %v", b.Status.Sequence, s.files("/manifests/"))
	}

	rights := func(want string) {
		t.Helper()
		s.Until("the credentials are "+want, func() error {
			if s.Read(s.repository); !strings.HasPrefix(stage.Condition(s.repository, v1alpha1.ConditionCredentialsRestricted), want) {
				return errors.New(stage.Conditions(s.repository))
			}
			return nil
		})
	}
	rights("False MayDeleteVersions")
	s.Ready(s.repository) // all the same
	s.gateway.NewUser(t, "ristretto", "segreto-ristretto", "salvataggi", restricted)
	use("ristretto", "segreto-ristretto")
	s.At(s.Now().Add(25 * time.Hour))
	rights("True DeletionRefused")
	third := s.backUp("terza") // they do for all that is done
	if err := s.comune.Delete(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	s.Gone(third)
	if len(s.files("/removed/")) != 1 {
		t.Errorf("the bucket has %v", s.files("/removed/"))
	}
}

// restricted is what docs/backup.md has the credentials do, and nothing else.
const restricted = `{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": ["USER"]}, "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::BUCKET"]},
  {"Effect": "Allow", "Principal": {"AWS": ["USER"]}, "Resource": ["arn:aws:s3:::BUCKET/*"], "Action": [
    "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:PutObject", "s3:PutObjectRetention", "s3:DeleteObject", "s3:AbortMultipartUpload"]}
]}`
