package backups

import (
	"bytes"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/stage"
)

// TestCrashBeforeStatus: the operator dies after it has written the manifest and before it says so. The next pass finds it, and writes no other.
func TestCrashBeforeStatus(t *testing.T) {
	t.Parallel()
	s := newScene(t, "crash")
	s.Create(s.config("app", "digital first"))
	b := s.backUp("prima")
	s.backUp("seconda") // another one comes in between
	manifest := b.Status.Manifest
	b.Status = v1alpha1.BackupStatus{ObservedGeneration: -1}
	if err := s.Operator().Status().Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.CaughtUp(b)
	s.Ready(b)
	if b.Status.Sequence != 1 || b.Status.Manifest != manifest {
		t.Errorf("it is number %d, %s, and was number 1, %s", b.Status.Sequence, b.Status.Manifest, manifest)
	}
	if all := s.files("/manifests/"); len(all) != 2 {
		t.Errorf("the bucket has %v", all)
	}
}

// TestKeyLost: without the tenant's key nothing new is sealed beside what the old one sealed.
func TestKeyLost(t *testing.T) {
	t.Parallel()
	s := newScene(t, "keylost")
	s.Create(s.config("app", "digital first"))
	s.backUp("prima")
	before := s.content("salvataggi")
	s.Remove(&corev1.Secret{ObjectMeta: stage.In(manager.Namespace, depot.KeyName(s.repository.Name, s.tenant.Name))})
	s.stalls(s.ask("seconda"), v1alpha1.ReasonKeyLost)
	after := s.content("salvataggi")
	for name, content := range before {
		if !strings.Contains(name, "/proof-") && !bytes.Equal(after[name], content) {
			t.Errorf("%s is another one", name)
		}
	}
	if all := s.files("/manifests/"); len(all) != 1 {
		t.Errorf("the bucket has %v", all)
	}
}

// TestFlippedPage: what is damaged is named, and all else comes back.
func TestFlippedPage(t *testing.T) {
	t.Parallel()
	s := newScene(t, "flipped")
	namespace := s.workspace.TargetNamespace()
	secret, config := s.secret(namespace, "db"), s.config("app", "digital first")
	s.Create(secret)
	s.Create(config)
	b := s.backUp("prima")
	s.Remove(secret)
	s.Remove(config)
	pages := s.files("/objects/")
	if len(pages) != 2 {
		t.Fatalf("the bucket has %v, want a page of config maps and one of secrets", pages)
	}
	content := s.content("salvataggi")[pages[0]]
	content[len(content)/2] ^= 1
	_, err := s.gateway.Client(t).PutObject(t.Context(), "salvataggi", pages[0], bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := s.bring(s.comune, "indietro", b.Name)
	s.stalls(r, v1alpha1.ReasonPartlyRestored)
	lost := strings.Join(r.Status.Lost, " ")
	if r.Status.Creates != 1 || s.Exists(secret) == strings.Contains(lost, "secrets/db") || s.Exists(config) == strings.Contains(lost, "configmaps/app") {
		t.Errorf("lost is %q, %d were made, the secret is there: %v, the config map: %v", lost, r.Status.Creates, s.Exists(secret), s.Exists(config))
	}
}

// files are the names in the bucket that have a part.
func (s *scene) files(part string) (out []string) {
	s.Helper()
	for name := range names(s.Context(), s, "salvataggi") {
		if strings.Contains(name, part) {
			out = append(out, name)
		}
	}
	return out
}
