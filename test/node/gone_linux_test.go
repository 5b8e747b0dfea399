package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

const (
	// runbook is what TestClusterGone walks.
	runbook = repository + "/docs/runbooks/ClusterGone.md"
	// apiServer is where the API server is reached from outside the cluster.
	apiServer = "https://172.30.0.1:6443"
	// askFiles asks what files the volume has, who may do what with them, and what is in them.
	askFiles = "cd /dati && find . -type f | sort | while read f; do stat -c '%n %a %u:%g %s' $f; sha256sum < $f; done"
)

// TestClusterGone walks the runbook: a cluster is ended and removed with everything in it, and what is left are the bucket, the escrow's identity
// and the platform's files. With these, a comune has its objects, the files of its volume and the rows of its database back in another cluster, by
// the commands that the runbook prints.
func TestClusterGone(t *testing.T) {
	t.Parallel() // no other test of the package is: so this one begins when they are over, who need the cluster that ends here
	if the.kept {
		t.Skipf("the cluster is to be kept, as %s says", existing)
	}
	cities(t)
	s := newSafe(t)
	was := s.live(t)
	if err := the.end(); err != nil {
		t.Fatal(err)
	}
	if err := the.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	the.last = true
	if err := the.install(t.Context()); err != nil { // step 1
		t.Fatal(err)
	}
	o := s.outside(t, was.backup.Name)
	o.apply()
	o.bringKeys()
	o.restore(was)
	o.policyGoesOn(was)
}

// life is what a workspace has beside its papers, and its backup.
type life struct {
	files, rows string
	backup      *v1alpha1.Backup
}

// live has the comune do what is to come back, and back it up.
func (s *safe) live(t *testing.T) life {
	t.Helper()
	motto, code := papers()
	writer := &corev1.Pod{ObjectMeta: stage.In(archivio, "scrivano")}
	writer.Spec = restricted(999, corev1.Container{
		Name: "scrivano", Image: postgresImage, Command: []string{"sleep", "86400"}, VolumeMounts: []corev1.VolumeMount{{Name: "dati", MountPath: "/dati"}},
	})
	writer.Spec.SecurityContext.FSGroupChangePolicy = new(corev1.FSGroupChangeOnRootMismatch) // else the kubelet changes modes at each start
	claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "dati"}
	writer.Spec.Volumes = []corev1.Volume{{Name: "dati", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}}}
	for _, o := range []client.Object{motto, code, writer} {
		if err := s.c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		the.deleteAfter(t, s.c, o)
	}
	s.dumped(t)
	s.runs(t, writer.Name)
	s.shell(t, writer.Name, `mkdir -p /dati/atti && echo segretissimo > /dati/atti/delibera-1.txt && chmod 600 /dati/atti/delibera-1.txt &&
: > /dati/vuoto && dd if=/dev/urandom of=/dati/scansione bs=1M count=8`)
	was := life{files: s.shell(t, writer.Name, askFiles), rows: s.shell(t, "dumped-0", askDumped), backup: s.policyWith(t, "notturno", dumpIt)}
	s.ready(t, was.backup)
	if !condition.True(was.backup, v1alpha1.ConditionWhole) || len(was.backup.Status.Volumes) != 2 || strings.Count(was.files, "\n") != 5 {
		t.Fatalf("the volume has %s, and the backup says %+v", was.files, was.backup.Status)
	}
	return was
}

// outsider works along the runbook at a machine outside the cluster, from where the API server and the store are reached.
type outsider struct {
	*testing.T
	*safe
	runbook        string   // with our names
	enter          []string // what a command line begins with there
	path           string   // folders of programs
	desk           string   // folder of what the platform and the comune have written, and of the escrow's identity
	platform, town string   // kubeconfigs
}

// outside moves the store to where the other cluster finds it, and sits down there.
func (s *safe) outside(t *testing.T, backup string) *outsider {
	t.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := call(t.Context(), os.Stderr, "go", "run", "-C", repository+"/hack/kube", "./cmd/kube", "build", "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	network := world(t)
	s.store.Move(t, network)
	_, s.c = the.as(t, "administrator", "lugano:ict")
	o := &outsider{
		T: t, safe: s, enter: network.Enter, desk: t.TempDir(),
		runbook: strings.NewReplacer("primario", s.repository.Name, "sportello", s.workspace.Name, "prima-del-trasloco", backup).Replace(string(text)),
		path:    strings.Join([]string{strings.TrimSpace(kubectl), filepath.Join(the.dir, "bin"), os.Getenv("PATH")}, ":"),
	}
	o.platform, o.town = o.kubeconfig("platform-engineer", masters), o.kubeconfig("administrator", "lugano:ict")
	return o
}

// kubeconfig is the file with which somebody acts from there.
func (o *outsider) kubeconfig(user, group string) string {
	o.Helper()
	text, err := the.node(o.Context(), "kubeconfig", "--user="+user, "--group="+group)
	if err != nil {
		o.Fatal(err)
	}
	return o.write(user+".kubeconfig", regexp.MustCompile(`https://127\.0\.0\.1:\d+`).ReplaceAllString(text, apiServer))
}

// write leaves a file on the desk.
func (o *outsider) write(name, text string) (path string) {
	o.Helper()
	path = filepath.Join(o.desk, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		o.Fatal(err)
	}
	return path
}

// try runs the runbook's command that begins so, and returns what it prints.
func (o *outsider) try(kubeconfig, beginning string) (command, out string, err error) {
	o.Helper()
	found := regexp.MustCompile(`(?m)^ *\$ (` + regexp.QuoteMeta(beginning) + `.*)$`).FindStringSubmatch(o.runbook)
	if found == nil {
		o.Fatalf("the runbook has no command %s", beginning)
	}
	words := slices.Concat(o.enter, []string{"bash", "-c", found[1]})
	cmd := exec.CommandContext(o.Context(), words[0], words[1:]...)
	cmd.Dir, cmd.Env = o.desk, []string{"PATH=" + o.path, "HOME=" + o.desk, "KUBECONFIG=" + kubeconfig}
	var said, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := cmd.Run(); err != nil {
		return found[1], "", fmt.Errorf("%s: %w\n%s%s", found[1], err, &said, &complaint)
	}
	return found[1], said.String(), nil
}

// until runs that command until what it prints is as it should be.
func (o *outsider) until(kubeconfig, beginning string, is func(out string) bool) {
	o.Helper()
	cluster.Eventually(o, backupPatience, beginning, func() error {
		command, out, err := o.try(kubeconfig, beginning)
		if err != nil {
			return err
		}
		if !is(out) {
			return fmt.Errorf("%s prints\n%s", command, out)
		}
		o.Logf("$ %s\n%s", command, out)
		return nil
	})
}

// once runs that command, which is to succeed at the first try.
func (o *outsider) once(kubeconfig, beginning string) (out string) {
	o.Helper()
	command, out, err := o.try(kubeconfig, beginning)
	if err != nil {
		o.Fatal(err)
	}
	o.Logf("$ %s\n%s", command, out)
	return out
}

// printed holds that the runbook has every line that was printed.
func (o *outsider) printed(out string) {
	o.Helper()
	for line := range strings.Lines(out) {
		if !strings.Contains(o.runbook, strings.TrimSpace(line)+"\n") {
			o.Errorf("the runbook does not have %s", line)
		}
	}
}

// apply is step 2: the platform's files, and nothing else.
func (o *outsider) apply() {
	o.Helper()
	for _, name := range []string{"00-consortium.yaml", "10-tenants.yaml"} {
		text, err := os.ReadFile(repository + "/config/samples/ticino/" + name)
		if err != nil {
			o.Fatal(err)
		}
		documents := strings.Split(string(text), "\n---\n")
		nowhere := func(document string) bool { return strings.Contains(document, "kind: BackupRepository") } // its store is that of the demo
		o.write("platform/"+name, strings.Join(slices.DeleteFunc(documents, nowhere), "\n---\n"))
	}
	secret, r := o.files(o.T, o.repository.Name)
	var documents []string
	for _, object := range []client.Object{secret, r} {
		kind, err := apiutil.GVKForObject(object, cluster.Scheme())
		if err != nil {
			o.Fatal(err)
		}
		object.GetObjectKind().SetGroupVersionKind(kind)
		text, err := yaml.Marshal(object)
		if err != nil {
			o.Fatal(err)
		}
		documents = append(documents, string(text))
		the.deleteAfter(o.T, the.admin(o), object)
	}
	o.write("platform/20-repositories.yaml", strings.Join(documents, "---\n"))
	o.printed(o.once(o.platform, "kubectl apply --server-side"))
	o.until(o.platform, "kubectl get backuprepository ", func(out string) bool { return out != "" && strings.Contains(o.runbook, out) })
}

// bringKeys is step 3.
func (o *outsider) bringKeys() {
	o.Helper()
	o.write("escrow.txt", fmt.Sprintf("# public key: %s\n%s\n", o.escrow.Recipient(), o.escrow))
	out := o.once(o.platform, "broletto restore-keys")
	if !hasRow(out, "lugano", "put", "back", "1", o.workspace.Name) {
		o.Fatal("that is not what the bucket has")
	}
}

// restore are steps 4 and 5, by the comune itself.
func (o *outsider) restore(was life) {
	o.Helper()
	backup := was.backup.Name
	o.until(o.town, "kubectl get backups", func(out string) bool { return hasRow(out, backup, "True") })
	b := &v1alpha1.Backup{ObjectMeta: stage.In("lugano", backup)}
	o.ready(o.T, b)
	if !condition.True(b, v1alpha1.ConditionWhole) || b.UID == was.backup.UID || b.Status.Manifest != was.backup.Status.Manifest || b.Status.Objects != was.backup.Status.Objects {
		o.Errorf("the backup is\n%+v, and was\n%+v", b.Status, was.backup.Status)
	}

	r := &v1alpha1.Restore{ObjectMeta: stage.In("lugano", o.workspace.Name+"-torna")}
	o.write(r.Name+".yaml", regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(o.runbook)[1])
	the.deleteAfter(o.T, o.c, o.workspace)
	the.deleteAfter(o.T, o.c, r)
	o.printed(o.once(o.town, "kubectl apply -f "+r.Name))
	o.ready(o.T, r)
	o.until(o.town, "kubectl get restores", func(out string) bool { return hasRow(out, r.Name, "True") })
	if len(r.Status.Refused)+len(r.Status.Lost) > 0 || len(r.Status.Volumes) != 2 || r.Status.BytesRead == 0 {
		o.Errorf("the restore says %+v", r.Status)
	}
	o.wantPapers(o.T)
	o.runs(o.T, "scrivano")
	if got := o.shell(o.T, "scrivano", askFiles); got != was.files {
		o.Errorf("the volume has\n%s\nwant\n%s", got, was.files)
	}
	o.runs(o.T, "dumped-0")
	if got := o.shell(o.T, "dumped-0", askDumped); got != was.rows {
		o.Errorf("the database has %q, want %q", got, was.rows)
	}
}

// policyGoesOn is step 6: the policy has its backup again, and makes no other today.
func (o *outsider) policyGoesOn(was life) {
	o.Helper()
	if b := o.policyWith(o.T, "notturno", dumpIt); b.Name != was.backup.Name {
		o.Errorf("the policy has %s, want %s", b.Name, was.backup.Name)
	}
	o.ready(o.T, &v1alpha1.BackupPolicy{ObjectMeta: stage.In("lugano", "notturno")})
}

// hasRow tells whether a table has a row that begins with these words.
func hasRow(table string, words ...string) bool {
	for line := range strings.Lines(table) {
		if got := strings.Fields(line); len(got) >= len(words) && slices.Equal(got[:len(words)], words) {
			return true
		}
	}
	return false
}
