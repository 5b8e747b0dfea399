package backups

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/cli/keys"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestDrillChecks: a drill asks the tenant's own checks of what runs in its workspace, by pods, by a command and by HTTP; one that does not pass
// fails it; and what it came to is in the bucket, signed.
func TestDrillChecks(t *testing.T) {
	t.Parallel()
	s := newScene(t, "checks", locked)
	k := newKubelet(s, false)
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("/atti", func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.Host) })
	web, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	t.Cleanup(web.Close)
	t.Cleanup(secure.Close)
	k.web = map[string]string{"http": web.Listener.Addr().String(), "https": secure.Listener.Addr().String()}
	k.takePods("db", "drill-")

	namespace := s.workspace.TargetNamespace()
	db := &corev1.Pod{ObjectMeta: stage.In(namespace, "db"), Spec: restrictedPod()}
	db.Labels = map[string]string{"app": "db"}
	s.Create(db)
	for name, port := range map[string]int32{"web": 8080, "sicuro": 443} {
		s.Create(&corev1.Service{ObjectMeta: stage.In(namespace, name), Spec: corev1.ServiceSpec{Selector: db.Labels, Ports: []corev1.ServicePort{{Port: port}}}})
	}
	selector := metav1.LabelSelector{MatchLabels: db.Labels}
	command := func(name, script string, seconds int32) v1alpha1.DrillCheck {
		return v1alpha1.DrillCheck{Name: name, TimeoutSeconds: seconds, Command: &v1alpha1.CommandCheck{PodSelector: selector, Command: []string{"sh", "-c", script}}}
	}
	get := func(name, path string, seconds int32) v1alpha1.DrillCheck {
		return v1alpha1.DrillCheck{Name: name, TimeoutSeconds: seconds, HTTP: &v1alpha1.HTTPCheck{Service: "web", Port: 8080, Path: path}}
	}
	ready := func(name, app string, seconds int32) v1alpha1.DrillCheck {
		return v1alpha1.DrillCheck{Name: name, TimeoutSeconds: seconds, PodsReady: &v1alpha1.PodsReadyCheck{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}
	}
	sicuro := v1alpha1.DrillCheck{Name: "sicuro", TimeoutSeconds: 1200, HTTP: &v1alpha1.HTTPCheck{Service: "sicuro", Scheme: v1alpha1.CheckHTTPS, Path: "/atti"}}
	proof := filepath.Join(t.TempDir(), "run")
	p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30, Checks: []v1alpha1.DrillCheck{ready("pronto", "db", 1200), command("conta", "echo t >> "+proof, 1200), get("web", "/atti", 1200), sicuro}}
	})
	d := s.drilled(p)
	if got, want := outcomes(d), "pronto conta web sicuro"; !*d.Passed || got != want {
		t.Fatalf("passed is %t, and the checks are %q, want %q: %s", *d.Passed, got, want, d.Message)
	}
	if text, err := os.ReadFile(proof); err != nil || string(text) != "t\n" {
		t.Errorf("the command has written %q: %v", text, err)
	}
	if want := []string{k.web["http"], k.web["https"]}; !slices.Equal(asked, want) {
		t.Errorf("%v were asked, want %v", asked, want)
	}
	s.Ready(p)
	s.nothingLeft()
	good := s.evident(d)

	s.again(p, []v1alpha1.DrillCheck{get("web", "/niente", 1200), get("muto", deaf, 30), command("conta", "echo the table is empty >&2; exit 3", 30), ready("mai", "mai", 30)})
	k.while(func(o *move.Order) bool {
		if o.Question != nil {
			o.Question.Seconds = 1 // the clock of the drill is not the mover's
		}
		return false
	}, func() {
		d = s.drilled(p)
	})
	if got, want := outcomes(d), "!web !muto !conta !mai"; *d.Passed || got != want {
		t.Fatalf("passed is %t, and the checks are %q, want %q: %s", *d.Passed, got, want, d.Message)
	}
	for i, want := range []string{"is answered with 404, not 200", "it could not be asked: its pod ", `in pod db it ended with code 3: "the table is empty"`, "there is no pod with the labels app=mai"} {
		if got := d.Checks[i].Message; !strings.Contains(got, want) {
			t.Errorf("check %s says %q, want %q", d.Checks[i].Name, got, want)
		}
	}
	s.stalls(p, v1alpha1.ReasonDrillFailed)
	s.nothingLeft()
	bad := s.evident(d)
	s.Rest()

	out, err := s.auditor()
	if err != nil || strings.Count(out, "\n") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	for digest, want := range map[string]string{good.Digest: " yes ", bad.Digest: " no "} {
		if i := strings.Index(out, digest); i < 0 || !strings.Contains(out[strings.LastIndex(out[:i], "\n")+1:i], want) {
			t.Errorf("the drill of %s is not listed with%s:\n%s", digest, want, out)
		}
	}
	t.Logf("broletto drills\n%s", out)
	record := s.content("salvataggi")[good.Name]
	if _, err := s.gateway.Client(t).PutObject(t.Context(), "salvataggi", bad.Name, bytes.NewReader(record), int64(len(record)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.auditor(); err == nil || !strings.Contains(err.Error(), bad.Name) || !strings.Contains(out, good.Digest) || strings.Contains(out, bad.Digest) {
		t.Errorf("with a good record in the place of a bad one: %v\n%s", err, out)
	}
	stage.Edit(s.Stage, s.repository, func(r *v1alpha1.BackupRepository) {
		metav1.SetMetaDataAnnotation(&r.ObjectMeta, v1alpha1.AnnotationLook, "now")
	})
	s.Ready(s.repository)
	if got := stage.Condition(s.repository, v1alpha1.ConditionCatalogued); !strings.HasPrefix(got, "True") {
		t.Errorf("Catalogued: %s", got)
	}
	if err := s.gateway.Client(t).RemoveObject(t.Context(), "salvataggi", bad.Name, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.auditor(); err == nil || !strings.Contains(err.Error(), bad.Name) || !strings.Contains(err.Error(), "policy "+p.Namespace+"/notturno names it") {
		t.Errorf("without the last record: %v\n%s", err, out)
	}
	stage.Edit(s.Stage, s.repository, func(r *v1alpha1.BackupRepository) {
		metav1.SetMetaDataAnnotation(&r.ObjectMeta, v1alpha1.AnnotationLook, "again")
	})
	s.Until("the repository tells of it", func() error {
		s.Read(s.repository)
		if got := stage.Condition(s.repository, v1alpha1.ConditionCatalogued); !strings.HasPrefix(got, "False RecordMissing") || !strings.Contains(got, bad.Name) {
			return fmt.Errorf("Catalogued: %s", got)
		}
		return nil
	})
}

// deaf is the path of a question whose pod nobody takes.
const deaf = "/muto"

// drilled waits until there is evidence of a policy's drill, while time goes by.
func (s *scene) drilled(p *v1alpha1.BackupPolicy) *v1alpha1.DrillResult {
	s.Helper()
	s.Until("the drill is over", func() error {
		s.At(s.Now().Add(10 * time.Second))
		if s.Read(p); len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil || p.Status.Workspaces[0].Drill.Evidence == nil {
			return fmt.Errorf("the policy says %+v, %s", p.Status.Workspaces, s.underWay())
		}
		return nil
	})
	return p.Status.Workspaces[0].Drill
}

// underWay is what restores say of their checks.
func (s *scene) underWay() (out string) {
	var all v1alpha1.RestoreList
	for _, o := range s.List(&all, s.tenant.Name) {
		r := o.(*v1alpha1.Restore)
		out += fmt.Sprintf("%s: %s %+v\n", r.Name, stage.Conditions(r), r.Status.Checks)
	}
	return out
}

// again has a drill begun at once, with other checks.
func (s *scene) again(p *v1alpha1.BackupPolicy, checks []v1alpha1.DrillCheck) {
	s.Helper()
	stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) { p.Spec.Drill = nil })
	s.Until("the policy has forgotten its drill", func() error {
		if s.Read(p); p.Status.Workspaces[0].Drill != nil {
			return fmt.Errorf("it has %+v", p.Status.Workspaces[0].Drill)
		}
		return nil
	})
	s.At(s.Now().Add(time.Minute)) // drills are named by when they begin
	stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) { p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30, Checks: checks} })
}

// outcomes are the names of a drill's checks, with an exclamation mark before those that failed.
func outcomes(d *v1alpha1.DrillResult) string {
	var out []string
	for _, c := range d.Checks {
		if *c.Passed {
			out = append(out, c.Name)
		} else {
			out = append(out, "!"+c.Name)
		}
	}
	return strings.Join(out, " ")
}

// evident checks that the record of a drill is in the bucket as the policy says, locked.
func (s *scene) evident(d *v1alpha1.DrillResult) v1alpha1.DrillEvidence {
	s.Helper()
	file := s.content("salvataggi")[d.Evidence.Name]
	sum := sha256.Sum256(file)
	signature, err := base64.StdEncoding.DecodeString(d.Evidence.Signature)
	if err != nil || !bytes.HasSuffix(file, signature) || hex.EncodeToString(sum[:]) != d.Evidence.Digest || len(file) == 0 {
		s.Errorf("%s has %d bytes, and the policy says %+v: %v", d.Evidence.Name, len(file), d.Evidence, err)
	}
	c, versions := s.gateway.Client(s.T), 0
	for o := range c.ListObjectsIter(s.Context(), "salvataggi", minio.ListObjectsOptions{Prefix: d.Evidence.Name, WithVersions: true}) {
		if err := c.RemoveObject(s.Context(), "salvataggi", o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); o.Err != nil || err == nil {
			s.Errorf("version %s of %s is not locked: %v", o.VersionID, o.Key, o.Err)
		}
		versions++
	}
	if versions != 1 {
		s.Errorf("%s has %d versions, want 1", d.Evidence.Name, versions)
	}
	return *d.Evidence
}

// auditor verifies all drills with the bucket and the escrow's identity.
func (s *scene) auditor() (string, error) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "escrow.txt")
	if err := os.WriteFile(file, []byte(s.escrow.String()+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	var out bytes.Buffer
	err := keys.Drills(s.Context(), cluster.Admin(), &out, keys.Options{Namespace: manager.Namespace, Repository: s.repository.Name, Identity: file})
	return out.String(), err
}
