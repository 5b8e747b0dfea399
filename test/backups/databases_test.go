package backups

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/stage"
	"github.com/broletto/broletto/test/stores"
)

// TestDatabases: databases of a policy are dumped beside volumes and come back, all of one or nothing, and what cannot be dumped is told.
func TestDatabases(t *testing.T) {
	t.Parallel()
	s := newScene(t, "dbs")
	k := newKubelet(s, false)
	k.takePods("db", "drill-")
	k.server = stores.NewPostgres(t)
	k.server.Do(t, "postgres", "CREATE DATABASE anagrafe")
	k.server.Do(t, "anagrafe", "CREATE TABLE cittadini AS SELECT id, 'riservatissimo ' || id AS nome FROM generate_series(1, 10000) id")
	count := func() string {
		t.Helper()
		return k.server.Ask(t, "anagrafe", "SELECT count(*)::text FROM cittadini")
	}
	namespace := s.workspace.TargetNamespace()
	secret := &corev1.Secret{ObjectMeta: stage.In(namespace, "db-backup"), Data: map[string][]byte{}}
	for _, key := range []string{"username", "password"} {
		var err error
		if secret.Data[key], err = os.ReadFile(filepath.Join(k.server.Folder, key)); err != nil {
			t.Fatal(err)
		}
	}
	service := &corev1.Service{ObjectMeta: stage.In(namespace, "db"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}, Ports: []corev1.ServicePort{{Port: 5432}}}}
	s.by(s.comune, secret)
	s.by(s.comune, service)

	p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		anagrafe := v1alpha1.Database{Name: "anagrafe", Engine: v1alpha1.EnginePostgreSQL, Service: "db", Database: "anagrafe", CredentialsSecret: "db-backup"}
		manca := anagrafe
		manca.Name, manca.Service = "manca", "manca"
		p.Spec.Databases = []v1alpha1.Database{anagrafe, manca}
	})
	first := s.made(t, p)
	wantVolume(t, first.Status.Volumes, "database/anagrafe Failed", "database/manca Failed")
	if l := first.Status.LeftOut; len(l) != 2 || l[0].What != "database/anagrafe" || !strings.HasPrefix(l[0].Why, "no pod runs that Service db selects") || !strings.HasPrefix(l[1].Why, "there is no Service manca in "+namespace) {
		t.Errorf("left out is %+v", l)
	}
	if len(k.ran()) != 0 {
		t.Errorf("movers did %+v", k.ran())
	}

	pod := s.pod("db")
	pod.Status.Phase = corev1.PodRunning
	if err := s.Admin.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	s.At(s.Now().Add(24 * time.Hour))
	b := s.made(t, p, first.Name)
	wantVolume(t, b.Status.Volumes, "database/anagrafe Done", "database/manca Failed")
	if v := b.Status.Volumes[0]; v.Snapshot == "" || v.Bytes < 100000 || v.Files != 1 || v.Attempt != 1 || v.Database == nil {
		t.Errorf("its dump is %+v", v)
	}
	if got := stage.Condition(b, v1alpha1.ConditionWhole); !strings.HasPrefix(got, "False LeftOut") || len(b.Status.LeftOut) != 1 {
		t.Errorf("Whole is %s; left out is %v", got, b.Status.LeftOut)
	}
	for name, content := range s.content("salvataggi") {
		if strings.Contains(string(content), "riservatissimo") || strings.Contains(name, "anagrafe") {
			t.Errorf("%s tells what is backed up", name)
		}
	}
	k.noMovers(t)
	s.floors(v1alpha1.BackupFloor{DataClass: v1alpha1.DataClassOrdinary, Retention: &v1alpha1.Retention{Last: 5}})
	s.stays()
	if s.Read(p); len(p.Status.Effective) != 1 {
		t.Errorf("under a floor, %+v hold", p.Status.Effective)
	}

	t.Run("in place", func(t *testing.T) {
		s := s.on(t)
		k.server.Do(t, "anagrafe", "DELETE FROM cittadini WHERE id > 10")
		r := s.bring(s.comune, "salta", b.Name)
		s.Ready(r)
		wantVolume(t, r.Status.Volumes, "database/anagrafe Skipped")
		if got := count(); got != "10" {
			t.Errorf("it was to stay, and has %s", got)
		}
		r = s.bring(s.comune, "rimetti", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into.Conflicts = v1alpha1.ConflictsReplace })
		s.Ready(r)
		wantVolume(t, r.Status.Volumes, "database/anagrafe Done")
		if got := count(); got != "10000" || r.Status.Same == 0 {
			t.Errorf("it has %s; the restore says %+v", got, r.Status)
		}
		k.noMovers(t)
	})
	t.Run("into another workspace", func(t *testing.T) {
		s := s.on(t)
		k.server.Do(t, "anagrafe", "DROP TABLE cittadini")
		r := s.bring(s.comune, "copia", b.Name, func(r *v1alpha1.Restore) { r.Spec.Into = v1alpha1.RestoreTarget{NewWorkspace: "copia"} })
		s.Ready(r)
		wantVolume(t, r.Status.Volumes, "database/anagrafe Done")
		if got := count(); got != "10000" || r.Status.Creates == 0 {
			t.Errorf("it has %s; the restore says %+v", got, r.Status)
		}
	})
	t.Run("a drill that asks for rows", func(t *testing.T) {
		s := s.on(t)
		program := filepath.Join(t.TempDir(), "righe")
		script := "#!/bin/sh\nset -eu\n"
		for _, e := range k.server.Env(t, "anagrafe") {
			name, value, _ := strings.Cut(e, "=")
			script += fmt.Sprintf("export %s=%q\n", name, value)
		}
		script += "psql -tAc 'SELECT count(*) FROM cittadini' | grep -qx \"$1\"\n"
		if err := os.WriteFile(program, []byte(script), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		rows := func(n string, seconds int32) []v1alpha1.DrillCheck {
			return []v1alpha1.DrillCheck{{Name: "righe", TimeoutSeconds: seconds, Command: &v1alpha1.CommandCheck{
				PodSelector: metav1.LabelSelector{MatchLabels: pod.Labels}, Command: []string{program, n},
			}}}
		}
		k.server.Do(t, "anagrafe", "DROP TABLE cittadini")
		stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) {
			p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30, Checks: rows("10000", 1200)}
		})
		if d := s.drilled(p); !*d.Passed || outcomes(d) != "righe" || d.BytesRead < 20000 {
			t.Errorf("it came to %+v", d)
		}
		s.again(p, rows("9999", 10)) // asked once, and over when it is looked at again
		if d := s.drilled(p); *d.Passed || outcomes(d) != "!righe" || !strings.Contains(d.Message, "in pod db it ended with code 1") {
			t.Errorf("with other rows than the dump has, it came to %+v", d)
		}
	})
	t.Run("a drill that fails", func(t *testing.T) {
		s := s.on(t)
		k.server.Do(t, "anagrafe", "DELETE FROM cittadini WHERE id > 10", "CREATE VIEW in_uso AS SELECT * FROM cittadini")
		s.again(p, nil)
		var seen []v1alpha1.VolumeMove
		s.Until("the drill is over", func() error {
			var all v1alpha1.RestoreList
			if err := s.Admin.List(t.Context(), &all, client.InNamespace(s.tenant.Name), client.MatchingLabels{v1alpha1.LabelPolicy: p.Name}); err != nil {
				return err
			}
			for _, r := range all.Items {
				seen = r.Status.Volumes
				s.hurry(seen)
			}
			if s.Read(p); p.Status.Workspaces[0].Drill == nil {
				return fmt.Errorf("it is at %+v", seen)
			}
			return nil
		})
		if d := p.Status.Workspaces[0].Drill; *d.Passed || !strings.Contains(d.Message, "database/anagrafe") {
			t.Errorf("it came to %+v", d)
		}
		if len(seen) != 1 || seen[0].Attempt != 3 {
			t.Errorf("its volumes were %+v", seen)
		}
		if got := count(); got != "10" {
			t.Errorf("a transaction that failed has left %s", got)
		}
	})
}

// made waits until a policy has another backup that is Ready.
func (s *scene) made(t *testing.T, p *v1alpha1.BackupPolicy, before ...string) (found *v1alpha1.Backup) {
	t.Helper()
	s.Until("policy "+p.Name+" has another backup", func() error {
		all, _ := s.owned(p.Name)
		for i := range all {
			if b := &all[i]; !slices.Contains(before, b.Name) {
				s.hurry(b.Status.Volumes)
				if found = b; condition.True(b, v1alpha1.ConditionReady) {
					return nil
				}
				return fmt.Errorf("it is %s; volumes %+v", stage.Condition(b, v1alpha1.ConditionReady), b.Status.Volumes)
			}
		}
		return fmt.Errorf("it has %d", len(all))
	})
	return found
}

// hurry lets a minute go by where a mover is tried again.
func (s *scene) hurry(all []v1alpha1.VolumeMove) {
	if slices.ContainsFunc(all, func(v v1alpha1.VolumeMove) bool { return strings.HasSuffix(v.Message, "it is tried again") }) {
		s.ahead.Add(int64(time.Minute))
	}
}
