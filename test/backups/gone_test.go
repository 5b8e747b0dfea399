package backups

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/cli/keys"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/volumes"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// runbook is what TestClusterGone walks.
const runbook = "../../docs/runbooks/ClusterGone.md"

// after is the life after: another cluster, where the operator runs as a process, and the same bucket.
type after struct {
	*scene
	cfg      *rest.Config // of the platform engineer
	admin    client.Client
	operator ctrl.Manager
	town     client.Client // of the comune
}

// TestClusterGone walks the runbook: of the first cluster there is nothing left but what the platform keeps in files, the bucket, and the escrow's
// identity. The operator is a real one, so that its watches are what brings everything about.
func TestClusterGone(t *testing.T) {
	t.Parallel()
	s := newScene(t, "gone", locked)
	namespace := s.workspace.TargetNamespace()
	host := v1alpha1.Hostname("sportello." + s.tenant.Name + ".example")
	stage.Edit(s.Stage, s.workspace, func(w *v1alpha1.Workspace) {
		w.Spec.Network.Exposure, w.Spec.Network.Hosts = v1alpha1.ExposureInternet, []v1alpha1.Hostname{host}
	})
	k := newKubelet(s, false)
	files := map[string]string{"atti/delibera-1.txt": "segretissimo", "vuoto": ""}
	write(t, k.volume("documenti"), files)
	secret, config := s.secret(namespace, "db"), s.config("app", "digital first")
	s.Create(secret)
	s.Create(config)
	s.Ready(s.workspace)
	policy := s.policy("notturno")
	s.has("notturno", 1)
	s.Ready(policy)
	mistake := s.backUp("sbaglio")
	own := s.backUp("prima-del-trasloco")
	s.by(s.comune, &v1alpha1.Backup{ObjectMeta: stage.In(s.tenant.Name, "altro"), Spec: own.Spec})
	if err := s.comune.Delete(t.Context(), mistake); err != nil {
		t.Fatal(err)
	}
	s.Gone(mistake)
	var before v1alpha1.BackupList
	s.Until("all backups are Ready", func() error { return ready(s.List(&before, s.tenant.Name)) })
	want := facts(&before)

	a := s.die()
	a.again(&v1alpha1.Consortium{}, "", s.ID("c"))
	a.again(&v1alpha1.Tenant{}, "", s.tenant.Name)
	a.again(&corev1.Secret{}, manager.Namespace, s.repository.Name)
	a.again(&v1alpha1.BackupRepository{}, "", s.repository.Name)
	a.says(s.repository.Name, v1alpha1.ReasonKeyLost)
	a.keys()
	a.says(s.repository.Name, v1alpha1.ReasonSucceeded)
	var list v1alpha1.BackupList
	a.eventually("the backups are there again, all Ready", func() error {
		if err := a.admin.List(t.Context(), &list, client.InNamespace(s.tenant.Name)); err != nil {
			return err
		}
		if diff := cmp.Diff(want, facts(&list)); diff != "" {
			return fmt.Errorf("before (-) and after (+):\n%s", diff)
		}
		return ready(a.items(&list))
	})

	c, live := a.operator.GetClient(), a.operator.GetAPIReader()
	k = newKubeletIn(s, a.admin, &volumes.Orders{Client: c, Live: live, Depot: &depot.Depot{Client: c, Live: live, Namespace: manager.Namespace}}, false)
	folder := k.bind(namespace, "documenti")
	restore := &v1alpha1.Restore{}
	for _, o := range cluster.Apply(t, a.town, a.block("kind: Restore")) {
		restore.Name, restore.Namespace = o.GetName(), o.GetNamespace()
	}
	a.ready(restore)
	if len(restore.Status.Refused)+len(restore.Status.Lost) > 0 {
		t.Errorf("its status is %+v", restore.Status)
	}
	workspace, back := &v1alpha1.Workspace{}, &corev1.Secret{}
	a.read(workspace, s.tenant.Name, s.workspace.Name)
	a.read(back, namespace, secret.Name)
	if !bytes.Equal(back.Data["password"], secret.Data["password"]) || !slices.Equal(workspace.Spec.Network.Hosts, []v1alpha1.Hostname{host}) {
		t.Errorf("the secret is %q, and the workspace has %+v", back.Data, workspace.Spec.Network)
	}

	if diff := cmp.Diff(files, read(t, folder)); diff != "" {
		t.Errorf("what came back on the volume (-want +got):\n%s", diff)
	}

	k.provide("drill", nil)
	a.again(&v1alpha1.BackupPolicy{}, s.tenant.Name, policy.Name, func(o client.Object) {
		o.(*v1alpha1.BackupPolicy).Spec.Drill = &v1alpha1.Drill{EveryDays: 30}
	})
	p := &v1alpha1.BackupPolicy{}
	a.eventually("the policy goes on, and has rehearsed", func() error {
		a.read(p, s.tenant.Name, policy.Name)
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Verified == "" || p.Status.Workspaces[0].Drill == nil {
			return fmt.Errorf("it says %+v", p.Status.Workspaces)
		}
		return nil
	})
	if d := p.Status.Workspaces[0].Drill; !*d.Passed {
		t.Errorf("the drill came to %+v", d)
	}
	for _, resource := range []string{"backups", "restores", "workspaces", "backuppolicies"} {
		t.Logf("kubectl get %s -n lugano\n%s", resource, a.table("namespaces/"+s.tenant.Name+"/"+resource))
	}
	t.Logf("kubectl get backuprepositories\n%s", a.table("backuprepositories"))
}

// facts are what backups are of, and what they hold, by the name that they had.
func facts(list *v1alpha1.BackupList) map[string]v1alpha1.BackupStatus {
	out := map[string]v1alpha1.BackupStatus{}
	for _, b := range list.Items {
		b.Status.Conditions, b.Status.ObservedGeneration, b.Status.Written, b.Status.ReadAt = nil, 0, 0, nil
		for i := range b.Status.Volumes { // how they were moved is known of no manifest
			v := &b.Status.Volumes[i]
			v.From, v.Attempt, v.Job, v.Sent, v.Received = "", 0, "", 0, 0
		}
		out[b.Name+" of "+b.Labels[v1alpha1.LabelPolicy]] = b.Status
	}
	return out
}

// ready tells which of some objects is not.
func ready(all []client.Object) error {
	for _, o := range all {
		if o := o.(condition.Object); !condition.True(o, v1alpha1.ConditionReady) {
			return fmt.Errorf("%s: %s", o.GetName(), stage.Conditions(o))
		}
	}
	return nil
}

// die is the end of the first cluster, as far as this test goes, and the beginning of another.
func (s *scene) die() *after {
	s.Helper()
	plane, err := embedded.Start(s.Context(), kube.Options{})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			s.Error(err)
		}
	})
	operator, err := plane.Operator(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	a := &after{scene: s}
	town, err := plane.Config("anna", stage.Group(s.tenant.Name, "ict"))
	if err == nil {
		a.cfg, err = plane.Admin()
	}
	if err != nil {
		s.Fatal(err)
	}
	a.admin, a.town = cluster.Client(s, a.cfg), cluster.Client(s, town)
	a.operator = s.OperateOn(operator, time.Now(), &manager.Stacks{BrokerURL: "https://broker.example"})
	return a
}

// again makes an object once more, as the platform's files have it.
func (a *after) again(o client.Object, namespace, name string, edit ...func(client.Object)) {
	a.Helper()
	if err := a.Admin.Get(a.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		a.Fatal(err)
	}
	o.SetResourceVersion("")
	o.SetUID("")
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	for _, e := range edit {
		e(o)
	}
	if err := a.admin.Create(a.Context(), o); err != nil {
		a.Fatal(err)
	}
}

// keys brings the tenants' keys back: with another identity none, and with the escrow's all.
func (a *after) keys() {
	a.Helper()
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		a.Fatal(err)
	}
	lost := client.ObjectKey{Namespace: manager.Namespace, Name: depot.KeyName(a.repository.Name, a.tenant.Name)}
	for _, identity := range []*age.X25519Identity{stranger, a.escrow} {
		if err := a.admin.Get(a.Context(), lost, &corev1.Secret{}); !apierrors.IsNotFound(err) {
			a.Fatalf("there is a key already: %v", err)
		}
		file := filepath.Join(a.TempDir(), "escrow.txt")
		text := fmt.Sprintf("# created: 2026-11-30T09:00:00Z\n# public key: %s\n%s\n", identity.Recipient(), identity)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			a.Fatal(err)
		}
		var out bytes.Buffer
		err := keys.Run(a.Context(), a.cfg, &out, keys.Options{Namespace: manager.Namespace, Repository: a.repository.Name, Identity: file})
		if (err == nil) != (identity == a.escrow) {
			a.Errorf("with %s: %v", identity.Recipient(), err)
		}
		if bytes.Contains(out.Bytes(), []byte("AGE-SECRET")) {
			a.Error("it prints the identity")
		}
		if identity == a.escrow {
			a.compare("broletto restore-keys", out.String())
		}
	}
}

// says waits until the repository's catalogue is as it should be.
func (a *after) says(name, reason string) {
	a.Helper()
	r := &v1alpha1.BackupRepository{}
	a.eventually("the catalogue is "+reason, func() error {
		a.read(r, "", name)
		if got := stage.Condition(r, v1alpha1.ConditionCatalogued); !strings.Contains(got, reason) {
			return fmt.Errorf("it says %s", stage.Conditions(r))
		}
		return nil
	})
}

func (a *after) ready(o condition.Object) {
	a.Helper()
	a.eventually(o.GetName()+" is Ready", func() error {
		a.read(o, o.GetNamespace(), o.GetName())
		a.read(a.repository, "", a.repository.Name)
		if err := ready([]client.Object{o}); err != nil {
			return fmt.Errorf("%w\nof the repository: %s", err, stage.Conditions(a.repository))
		}
		return nil
	})
}

// eventually is what the watches bring about, some of it a minute later.
func (a *after) eventually(what string, f func() error) {
	a.Helper()
	cluster.Eventually(a, 3*time.Minute, what, f)
}

func (a *after) read(o client.Object, namespace, name string) {
	a.Helper()
	if err := client.IgnoreNotFound(a.admin.Get(a.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o)); err != nil {
		a.Fatal(err)
	}
}

func (*after) items(list *v1alpha1.BackupList) (out []client.Object) {
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out
}

// names are those of the runbook, and what they are here.
func (a *after) names() []string {
	return []string{"lugano", a.tenant.Name, "primario", a.repository.Name}
}

// block is the runbook's only block of YAML that has a part, with the names of this test.
func (a *after) block(part string) []byte {
	a.Helper()
	for _, found := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(a.runbook(), -1) {
		if strings.Contains(found[1], part) {
			return []byte(strings.NewReplacer(a.names()...).Replace(found[1]))
		}
	}
	a.Fatalf("the runbook has no %s", part)
	return nil
}

// compare holds that a command printed what the runbook says it does, but for the signer.
func (a *after) compare(command, printed string) {
	a.Helper()
	a.Logf("%s\n%s", command, a.plain(printed))
	for _, found := range regexp.MustCompile("(?s)```console\n\\$ ([^\n]*)\n(.*?)```").FindAllStringSubmatch(a.runbook(), -1) {
		if !strings.HasPrefix(found[1], command) {
			continue
		}
		if diff := cmp.Diff(words(found[2]), words(a.plain(printed))); diff != "" {
			a.Errorf("%s: the runbook (-) and what was printed (+):\n%s", command, diff)
		}
		return
	}
	a.Errorf("the runbook has no %s", command)
}

// words are the cells of a table, without the signers.
func words(table string) []string {
	return strings.Fields(regexp.MustCompile(`\b[0-9a-f]{16}\b`).ReplaceAllString(table, "signer"))
}

func (a *after) runbook() string {
	a.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		a.Fatal(err)
	}
	return string(text)
}

// plain is a text with the names of the runbook.
func (a *after) plain(text string) string {
	names := a.names()
	slices.Reverse(names)
	return strings.NewReplacer(names...).Replace(text)
}

// table is what kubectl get prints.
func (a *after) table(path string) string {
	a.Helper()
	transport, err := rest.HTTPClientFor(a.cfg)
	if err != nil {
		a.Fatal(err)
	}
	request, err := http.NewRequestWithContext(a.Context(), http.MethodGet, a.cfg.Host+"/apis/broletto.dev/v1alpha1/"+path, nil)
	if err != nil {
		a.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	answer, err := transport.Do(request)
	if err != nil {
		a.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var table metav1.Table
	if err := json.NewDecoder(answer.Body).Decode(&table); err != nil {
		a.Fatal(err)
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	var head []string
	for _, c := range table.ColumnDefinitions {
		head = append(head, strings.ToUpper(c.Name))
	}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range table.Rows {
		var cells []string
		for _, c := range r.Cells {
			cells = append(cells, a.plain(fmt.Sprint(c)))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // it writes into memory
	return out.String()
}
