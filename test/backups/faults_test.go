package backups

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
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

// TestCatalogue: what the bucket has and no Backup stands for comes back, and what was deleted on purpose does not, whoever plants what.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	s := newScene(t, "catalogue")
	s.Create(s.config("app", "digital first"))
	deleted, lost := s.backUp("tolto"), &v1alpha1.Backup{ObjectMeta: stage.In(s.tenant.Name, "perso")}
	lost.Spec = deleted.Spec
	lost.Spec.KeepDays = new(int32(30))
	s.by(s.comune, lost)
	s.Ready(lost)
	hidden := s.backUp("nascosto")
	s.Remove(deleted)
	s.Gone(deleted)
	s.tear(lost)
	s.backUp(lost.Name) // another one takes its name
	s.tear(hidden)
	removal := s.tenant.Name + "/removed/sportello/0000000003"
	planted := s.plant(removal, "the thief has no key")
	s.plant(s.tenant.Name+"/manifests/sportello/0000000009", "nor here")
	var all v1alpha1.BackupList
	s.Until("what was lost is there", func() error { return s.numbers(&all, "2 perso-", "3 nascosto", "4 perso") })
	s.Rest()
	s.Read(s.repository)
	if got := stage.Condition(s.repository, v1alpha1.ConditionCatalogued); !strings.Contains(got, v1alpha1.ReasonDamaged) || !strings.Contains(got, "sportello/0000000009") {
		t.Errorf("the catalogue is %s", got)
	}
	s.unplant(removal, planted)
	for i := range all.Items {
		b := &all.Items[i]
		s.Ready(b)
		if b.Status.Sequence == 2 && (b.Status.Manifest != lost.Status.Manifest || *b.Spec.KeepDays != 30) {
			t.Errorf("it is %+v, with %+v", b.Spec, b.Status)
		}
		s.Remove(b) // one that was found goes like any other
		s.Gone(b)
	}
	s.Rest()
	if err := s.numbers(&all); err != nil {
		t.Error(err)
	}
}

// tear takes a Backup out of the cluster as no operator would: nothing in the bucket says so.
func (s *scene) tear(b *v1alpha1.Backup) {
	s.Helper()
	if err := cluster.Discard(s.Context(), s.Admin, b); err != nil {
		s.Fatal(err)
	}
	s.CaughtUp(b)
}

// plant writes a file into the bucket as whoever has the store's credentials, and returns its version.
func (s *scene) plant(name, text string) string {
	s.Helper()
	info, err := s.gateway.Client(s.T).PutObject(s.Context(), "salvataggi", name, strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return info.VersionID
}

// unplant takes one away.
func (s *scene) unplant(name, version string) {
	s.Helper()
	if err := s.gateway.Client(s.T).RemoveObject(s.Context(), "salvataggi", name, minio.RemoveObjectOptions{VersionID: version}); err != nil {
		s.Fatal(err)
	}
}

// numbers tells whether these are the tenant's Backups, by number and name, without what was added to that to make it another one.
func (s *scene) numbers(list *v1alpha1.BackupList, want ...string) error {
	if err := s.Admin.List(s.Context(), list, client.InNamespace(s.tenant.Name)); err != nil {
		return err
	}
	var got []string
	for _, b := range list.Items {
		got = append(got, fmt.Sprintf("%d %s", b.Status.Sequence, b.Name[:cmp.Or(strings.Index(b.Name, "-")+1, len(b.Name))]))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("there are %v, want %v", got, want)
	}
	return nil
}

// TestReadAgain: rot is found on the cycle, in every backup that has it and none that has not; what is next does not build on it.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t, "again")
	namespace := s.workspace.TargetNamespace()
	s.Create(s.secret(namespace, "db"))
	config := s.config("app", "digital first")
	s.Create(config)
	first := s.backUp("prima")
	old := s.files("/objects/")
	stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = "changed" })
	second := s.backUp("seconda") // it shares the page of the secret
	var rotten string
	for _, name := range old {
		content := s.content("salvataggi")[name]
		content[len(content)/2] ^= 1
		s.plant(name, string(content))
		s.At(s.Now().AddDate(0, 0, 8))
		s.Until("both were read again", func() error { return s.readSince(s.Now(), first, second) })
		if len(second.Status.Lost) > 0 {
			rotten = name
			break
		}
		content[len(content)/2] ^= 1 // that of the config map, as it was: only the first has it
		if len(first.Status.Lost) != 1 {
			t.Errorf("the first has lost %v", first.Status.Lost)
		}
		s.plant(name, string(content))
	}
	if rotten == "" {
		t.Fatal("no page is in both")
	}
	s.stalls(second, v1alpha1.ReasonDamaged)
	s.stalls(first, v1alpha1.ReasonDamaged)
	if lost := strings.Join(second.Status.Lost, " "); lost != "secrets/db" || first.Status.BytesRead > 0 && second.Status.BytesRead > 0 && first.Status.BytesRead+second.Status.BytesRead >= first.Status.Bytes+second.Status.Bytes {
		t.Errorf("lost is %q; %d and %d bytes were read", lost, first.Status.BytesRead, second.Status.BytesRead)
	}
	s.Read(s.repository)
	if got := stage.Condition(s.repository, v1alpha1.ConditionVerified); !strings.HasPrefix(got, "False "+v1alpha1.ReasonDamaged) || !strings.Contains(got, s.tenant.Name+"/seconda") {
		t.Errorf("the repository is %s", got)
	}
	s.backUp("terza") // Ready: it is written anew
	s.Remove(first)
	s.Gone(first)
	s.Remove(second)
	s.Gone(second)
	s.Rest()
	s.Read(s.repository)
	if got := stage.Condition(s.repository, v1alpha1.ConditionVerified); !strings.HasPrefix(got, "True") {
		t.Errorf("the repository is %s", got)
	}
}

// readSince tells whether backups were read back since a time.
func (s *scene) readSince(at time.Time, all ...*v1alpha1.Backup) error {
	for _, b := range all {
		if s.Read(b); b.Status.ReadAt == nil || b.Status.ReadAt.Time.Before(at.Truncate(time.Second)) {
			return fmt.Errorf("%s was read at %v", b.Name, b.Status.ReadAt)
		}
	}
	return nil
}
