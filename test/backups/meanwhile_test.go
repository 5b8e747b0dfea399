package backups

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestTampered writes over what is in the bucket, as whoever has the store's credentials can: each is found, and nothing false comes back.
func TestTampered(t *testing.T) {
	t.Parallel()
	s := newScene(t, "tampered")
	config := s.config("app", "digital first")
	secret := s.secret(s.workspace.TargetNamespace(), "db")
	s.Create(config)
	s.backUp("prima")
	stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = "second" })
	s.Create(secret)
	s.backUp("seconda")
	other := s.Tenant("b")
	s.Ready(other)
	w := s.Workspace(other, s.workspace.Name)
	s.Ready(w)
	s.Create(&corev1.ConfigMap{ObjectMeta: stage.In(w.TargetNamespace(), "app"), Data: map[string]string{"motto": "another's"}})
	carla := cluster.Client(t, cluster.As("carla", stage.Group(other.Name, "ict")))
	theirs := &v1alpha1.Backup{ObjectMeta: stage.In(other.Name, "prima")}
	theirs.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(w.Name), Repository: v1alpha1.RepositoryName(s.repository.Name)}
	s.by(carla, theirs)
	s.Ready(theirs)

	whole := s.content("salvataggi")
	manifest := func(tenant string, number int) string {
		return fmt.Sprintf("%s/manifests/%s/%010d", tenant, s.workspace.Name, number)
	}
	var pages, others []string
	for _, name := range s.files("/objects/") {
		if strings.HasPrefix(name, s.tenant.Name+"/") {
			pages = append(pages, name)
		} else {
			others = append(others, name)
		}
	}
	if len(pages) != 3 || len(others) != 1 || whole[manifest(s.tenant.Name, 2)] == nil || whole[manifest(other.Name, 1)] == nil {
		t.Fatalf("the bucket has %v and %v", pages, others)
	}
	s.Remove(config)
	s.Remove(secret)
	for name, c := range map[string]struct {
		put    map[string]string // what lies under a name: of which it was
		reason string
	}{
		"pages swapped":           {map[string]string{pages[0]: pages[1], pages[1]: pages[2], pages[2]: pages[0]}, v1alpha1.ReasonPartlyRestored},
		"pages of another tenant": {map[string]string{pages[0]: others[0], pages[1]: others[0], pages[2]: others[0]}, v1alpha1.ReasonPartlyRestored},
		"an older manifest":       {map[string]string{manifest(s.tenant.Name, 2): manifest(s.tenant.Name, 1)}, v1alpha1.ReasonDamaged},
		"of another tenant":       {map[string]string{manifest(s.tenant.Name, 2): manifest(other.Name, 1)}, v1alpha1.ReasonDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			for at, of := range c.put {
				s.put(at, whole[of])
			}
			r := s.bring(s.comune, strings.ReplaceAll(name, " ", "-"), "seconda")
			s.stalls(r, c.reason)
			if r.Status.Creates != 0 || s.Exists(config) || s.Exists(secret) {
				t.Errorf("the config map is there: %v, the secret: %v, and the status is %+v", s.Exists(config), s.Exists(secret), r.Status)
			}
			for at := range c.put {
				s.put(at, whole[at])
			}
		})
	}
	s.Ready(s.bring(s.comune, "intatta", "seconda"))
	if s.Read(config); config.Data["motto"] != "second" || !s.Exists(secret) {
		t.Errorf("the config map has %v, and the secret is there: %v", config.Data, s.Exists(secret))
	}
}

// put writes a file into the bucket, whatever is there.
func (s *scene) put(name string, content []byte) {
	s.Helper()
	_, err := s.gateway.Client(s.T).PutObject(s.Context(), "salvataggi", name, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
	if err != nil {
		s.Fatal(err)
	}
}

// TestMeanwhile changes what a backup or a restore was asked for under.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	s := newScene(t, "meanwhile")
	config := s.config("app", "digital first")
	s.Create(config)

	t.Run("two policies on one workspace", func(t *testing.T) {
		s := s.on(t)
		s.policy("notturno")
		s.policy("altro")
		s.has("notturno", 1)
		s.has("altro", 1)
		first, _ := s.owned("notturno")
		second, _ := s.owned("altro")
		if first[0].Status.Sequence+second[0].Status.Sequence != 3 || len(s.files("/manifests/")) != 2 {
			t.Errorf("they are numbers %d and %d, and the bucket has %v", first[0].Status.Sequence, second[0].Status.Sequence, s.files("/manifests/"))
		}
		if got := stage.Condition(&first[0], v1alpha1.ConditionWhole); !strings.HasPrefix(got, "True") {
			t.Errorf("whole: %s", got)
		}
	})
	t.Run("a requester who lost rights", func(t *testing.T) {
		s := s.on(t)
		all, _ := s.owned("notturno")
		s.Create(&rbacv1.Role{ObjectMeta: stage.In(s.tenant.Name, "restorer"), Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"broletto.dev"}, Resources: []string{"restores"}, Verbs: []string{"create"},
		}}})
		bind := func(namespace, kind, role string) *rbacv1.RoleBinding {
			b := &rbacv1.RoleBinding{
				ObjectMeta: stage.In(namespace, "di-bruno"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
				Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bruno"}},
			}
			s.Create(b)
			return b
		}
		bind(s.tenant.Name, "Role", "restorer")
		rights := bind(s.workspace.TargetNamespace(), "ClusterRole", "broletto-workspace-admin")
		bruno := cluster.Client(t, cluster.As("bruno"))
		may := func() error {
			return bruno.Create(t.Context(), s.config("prova", ""), client.DryRunAll)
		}
		cluster.Eventually(t, stage.Patience, "bruno may", may)
		s.Remove(config)
		r := s.bring(bruno, "di-bruno", all[0].Name)
		s.Remove(rights)
		cluster.Eventually(t, stage.Patience, "bruno may no more", func() error {
			if err := may(); !apierrors.IsForbidden(err) {
				return errors.Join(errors.New("he may"), err)
			}
			return nil
		})
		s.stalls(r, v1alpha1.ReasonPartlyRestored)
		if len(r.Status.Refused) == 0 || r.Status.Creates != 0 || s.Exists(config) {
			t.Errorf("its status is %+v", r.Status)
		}
	})
}

// TestTenantAgain: a tenant that was deleted and is made again finds its backups in the bucket, and goes on with their numbers.
func TestTenantAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t, "again", func(*v1alpha1.BackupRepository) {})
	s.Create(s.config("app", "digital first"))
	b := s.backUp("prima")
	before := s.files("/manifests/")
	stage.Edit(s.Stage, s.workspace, func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	s.Ready(s.workspace)
	s.Remove(s.workspace)
	s.Gone(s.workspace)
	s.Remove(s.tenant)
	s.Gone(s.tenant)
	if s.Exists(b) || len(s.files("/removed/")) != 0 {
		t.Errorf("the Backup is there: %v, and the bucket has %v", s.Exists(b), s.files("/removed/"))
	}
	s.tenant = s.Tenant("a")
	s.Ready(s.tenant)
	s.workspace = s.Workspace(s.tenant, "sportello")
	s.Ready(s.workspace)
	s.Ready(b, s.bring(s.comune, "indietro", b.Name)) // the Backup came back, too
	if config := s.config("app", ""); !s.Exists(config) || config.Data["motto"] != "digital first" {
		t.Errorf("the config map has %v", config.Data)
	}
	next := s.backUp("seconda")
	if after := s.files("/manifests/"); next.Status.Sequence != 2 || len(after) != 2 || after[0] != before[0] && after[1] != before[0] {
		t.Errorf("it is number %d, and the bucket has %v", next.Status.Sequence, after)
	}
	found, err := archive.Rebuild(t.Context(), s.open("salvataggi"), s.escrow.String())
	if err != nil || len(found) != 1 || len(found[0].Chains["sportello"].Records) != 2 {
		t.Errorf("found %+v: %v", found, err)
	}
}
