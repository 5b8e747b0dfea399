package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
)

// postgresImage has PostgreSQL and the shell of busybox.
const postgresImage = "registry.ticino.example/postgres:1"

// serve starts a server on the volume, which it makes its own the first time. Nothing changes in its files by itself.
const serve = `set -e
data=/dati/postgres
[ -s $data/PG_VERSION ] || initdb -D $data -U postgres --auth=trust --no-locale --encoding=UTF8
chmod 700 $data
exec postgres -D $data -c listen_addresses= -c unix_socket_directories=/tmp -c shared_buffers=16MB -c autovacuum=off`

// restricted is a pod of the comune's, whose containers run for as long as their command does.
func restricted(user int64, c corev1.Container) corev1.PodSpec {
	c.SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)), AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{c},
	}
}

// server is PostgreSQL as the comune's administrator would have it.
func server() *appsv1.StatefulSet {
	labels := map[string]string{"app": "db"}
	pod := restricted(999, corev1.Container{
		Name: "postgres", Image: postgresImage, Command: []string{"sh", "-c", serve},
		VolumeMounts:   []corev1.VolumeMount{{Name: "dati", MountPath: "/dati"}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"pg_isready", "-h", "/tmp"}}}},
	})
	claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "dati"}
	pod.Volumes = []corev1.Volume{{Name: "dati", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}}}
	return &appsv1.StatefulSet{ObjectMeta: stage.In(archivio, "db"), Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
	}}
}

// shell runs a command in a pod of the workspace, as the comune's administrator.
func (s *safe) shell(t *testing.T, pod, command string) string {
	t.Helper()
	cfg, _ := the.as(t, "administrator", "lugano:ict")
	out, err := pods.Exec(t.Context(), cfg, client.ObjectKey{Namespace: archivio, Name: pod}, "sh", "-c", command)
	if err != nil {
		t.Fatalf("%v\n%s", err, pods.Explain(t.Context(), the.admin(t), archivio))
	}
	return strings.TrimSpace(out)
}

// runs waits until a pod of the workspace is ready.
func (s *safe) runs(t *testing.T, name string) {
	t.Helper()
	admin, pod := the.admin(t), &corev1.Pod{ObjectMeta: stage.In(archivio, name)}
	cluster.Eventually(t, backupPatience, "pod "+name+" is ready", func() error {
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if !pod.DeletionTimestamp.IsZero() || !slices.ContainsFunc(pod.Status.Conditions, isReady) {
			return errors.New(pods.Explain(t.Context(), admin, archivio))
		}
		return nil
	})
}

// policy has the comune write a policy with hooks, and returns the first backup that comes of it. What it says is for the test.
func (s *safe) policy(t *testing.T, name string, hooks ...v1alpha1.Hook) *v1alpha1.Backup {
	t.Helper()
	return s.policyWith(t, name, func(p *v1alpha1.BackupPolicySpec) { p.Hooks = hooks })
}

func (s *safe) policyWith(t *testing.T, name string, edit func(*v1alpha1.BackupPolicySpec)) *v1alpha1.Backup {
	t.Helper()
	p := &v1alpha1.BackupPolicy{ObjectMeta: stage.In("lugano", name)}
	p.Spec = v1alpha1.BackupPolicySpec{
		Workspaces: []v1alpha1.WorkspaceName{"archivio"}, Repository: v1alpha1.RepositoryName(s.repository.Name),
		Schedule: "30 2 * * *", Retention: v1alpha1.Retention{Last: 1},
	}
	edit(&p.Spec)
	if err := s.c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, p)
	var all v1alpha1.BackupList
	cluster.Eventually(t, backupPatience, "policy "+name+" has a backup made", func() error {
		if err := s.c.List(t.Context(), &all, client.InNamespace("lugano"), client.MatchingLabels{v1alpha1.LabelPolicy: name}); err != nil {
			return err
		}
		if len(all.Items) != 1 {
			return fmt.Errorf("it has %d", len(all.Items))
		}
		return nil
	})
	the.deleteAfter(t, s.c, &all.Items[0])
	return &all.Items[0]
}

// database: what a hook dumped comes back on its volume, with the server and what that had written itself.
func (s *safe) database(t *testing.T) {
	const count = `psql -h /tmp -U postgres -At -c "SELECT count(*) || ' ' || md5(string_agg(id || nome, ',' ORDER BY id)) FROM cittadini" `
	db := server()
	if err := s.c.Create(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, db)
	s.runs(t, "db-0")
	s.shell(t, "db-0", `psql -h /tmp -U postgres -q -v ON_ERROR_STOP=1 -c "CREATE DATABASE anagrafe" && psql -h /tmp -U postgres -q -v ON_ERROR_STOP=1 anagrafe -c "
CREATE TABLE cittadini AS SELECT id, md5(id::text) AS nome FROM generate_series(1, 20000) id"`)
	want := s.shell(t, "db-0", count+"anagrafe")
	b := s.policy(t, "notturno", v1alpha1.Hook{
		Name: "dump", PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, TimeoutSeconds: 120,
		Before: []string{"sh", "-c", "pg_dump -h /tmp -U postgres -Fc -f /dati/anagrafe.dump anagrafe && psql -h /tmp -U postgres -qc CHECKPOINT"},
		After:  []string{"sh", "-c", "rm /dati/anagrafe.dump && touch /dati/after"},
	})
	s.ready(t, b)
	if !condition.True(b, v1alpha1.ConditionWhole) || len(b.Status.Volumes) != 1 || b.Status.Volumes[0].Bytes < 20<<20 || b.Status.Volumes[0].From != v1alpha1.FromSnapshot {
		t.Errorf("the backup says %+v", b.Status)
	}
	if h := b.Status.Hooks; len(h) != 1 || h[0].Before != v1alpha1.HookDone || h[0].After != v1alpha1.HookDone || h[0].Message != "" {
		t.Errorf("its hooks are %+v", h)
	}
	if s.shell(t, "db-0", "ls /dati/after && ! ls /dati/anagrafe.dump 2> /dev/null") == "" {
		t.Error("what was to be run after the backup was not")
	}

	s.shell(t, "db-0", "rm -r /dati/*") // a mistake, or worse
	the.gone(t, s.c, db)
	the.gone(t, s.c, &corev1.Pod{ObjectMeta: stage.In(archivio, "db-0")})
	r := s.bring(t, "anagrafe", b.Name, v1alpha1.ConflictsReplace)
	if len(r.Status.Volumes) != 1 || r.Status.Volumes[0].Phase != v1alpha1.VolumeDone {
		t.Errorf("the restore says %+v", r.Status)
	}
	s.runs(t, "db-0")
	if got := s.shell(t, "db-0", count+"anagrafe"); got != want {
		t.Errorf("the server has %q, want %q", got, want)
	}
	s.shell(t, "db-0", "psql -h /tmp -U postgres -qc 'CREATE DATABASE prova' && pg_restore -h /tmp -U postgres -d prova /dati/anagrafe.dump")
	if got := s.shell(t, "db-0", count+"prova"); got != want {
		t.Errorf("the dump has %q, want %q", got, want)
	}
}

// serveAnew is a server that begins without data and with an empty database of its own, as images of databases do.
const serveAnew = `set -e
data=/tmp/postgres
initdb -D $data -U postgres --auth=trust --no-locale --encoding=UTF8
echo 'host anagrafe anagrafe all scram-sha-256' >> $data/pg_hba.conf
printf "CREATE ROLE anagrafe LOGIN PASSWORD '%s';\n\nCREATE DATABASE anagrafe OWNER anagrafe;\n" "$PASSWORD" | postgres --single -j -D $data postgres
exec postgres -D $data -c listen_addresses=* -c unix_socket_directories=/tmp -c shared_buffers=16MB`

// askDumped asks what rows the database has.
const askDumped = `psql -h /tmp -U postgres -At -c "SELECT count(*) || ' ' || md5(string_agg(id || nome, ',' ORDER BY id)) FROM cittadini" anagrafe`

// dumped is a database in pod dumped-0, with rows, that is on no volume: it is there for as long as the pod.
func (s *safe) dumped(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	db := server()
	db.Name = "dumped"
	labels := map[string]string{"app": "dumped"}
	db.Spec.Selector.MatchLabels, db.Spec.Template.Labels = labels, labels
	pod := &db.Spec.Template.Spec
	c := &pod.Containers[0]
	c.Command = []string{"sh", "-c", serveAnew}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "dati", MountPath: "/tmp"}}
	c.Env = []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "dumped"}, Key: "password",
	}}}}
	pod.Volumes = []corev1.Volume{{Name: "dati", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: stage.In(archivio, "dumped"), StringData: map[string]string{"username": "anagrafe", "password": "segreta"}},
		&corev1.Service{ObjectMeta: stage.In(archivio, "dumped"), Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 5432}}}},
		db,
	} {
		if err := s.c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		the.deleteAfter(t, s.c, o)
	}
	s.runs(t, "dumped-0")
	s.shell(t, "dumped-0", `psql -h /tmp -U anagrafe -q -v ON_ERROR_STOP=1 anagrafe -c "
CREATE TABLE cittadini AS SELECT id, md5(id::text) AS nome FROM generate_series(1, 200000) id; CREATE UNIQUE INDEX ON cittadini (id)"`)
	return db
}

// dumpIt has a policy dump that database.
func dumpIt(p *v1alpha1.BackupPolicySpec) {
	p.Databases = []v1alpha1.Database{{Name: "anagrafe", Engine: v1alpha1.EnginePostgreSQL, Service: "dumped", Database: "anagrafe", CredentialsSecret: "dumped"}}
}

// dumps: a database is dumped as its own account, without a file and without a hook, and comes back into a server that has lost everything. So it
// does in a drill meanwhile, which asks there for its rows, and for a page of the volume.
func (s *safe) dumps(t *testing.T) {
	db := s.dumped(t)
	want := s.shell(t, "dumped-0", askDumped)
	web, checks := s.web(t)
	checks = append(checks, v1alpha1.DrillCheck{Name: "conta", Command: &v1alpha1.CommandCheck{
		PodSelector: *db.Spec.Selector, Command: []string{"sh", "-c", askDumped + " | grep -qxF '" + want + "'"},
	}})
	b := s.policyWith(t, "dump", func(p *v1alpha1.BackupPolicySpec) {
		dumpIt(p)
		p.RecoveryTimeMinutes, p.Drill = new(int32(60)), &v1alpha1.Drill{EveryDays: 30, Checks: checks}
	})
	s.ready(t, b)
	i := slices.IndexFunc(b.Status.Volumes, func(v v1alpha1.VolumeMove) bool { return v.Name == "database/anagrafe" })
	left := func(l v1alpha1.LeftOut) bool { return strings.HasPrefix(l.What, v1alpha1.DatabasePrefix) }
	if i < 0 || slices.ContainsFunc(b.Status.LeftOut, left) || b.Status.Volumes[i].Phase != v1alpha1.VolumeDone || b.Status.Volumes[i].Bytes < 5<<20 {
		t.Fatalf("the backup says %+v", b.Status)
	}
	t.Logf("a dump: %+v", b.Status.Volumes[i])

	the.gone(t, s.c, db)
	the.gone(t, s.c, &corev1.Pod{ObjectMeta: stage.In(archivio, "dumped-0")}) // and with it all that it had
	s.shell(t, web.Name, "rm -r /dati/atti")
	the.gone(t, s.c, web) // it uses the volume
	r := s.bring(t, "dump", b.Name, v1alpha1.ConflictsReplace)
	i = slices.IndexFunc(r.Status.Volumes, func(v v1alpha1.VolumeMove) bool { return v.Name == "database/anagrafe" })
	if i < 0 || r.Status.Volumes[i].Phase != v1alpha1.VolumeDone {
		t.Errorf("the restore says %+v", r.Status)
	}
	if got := s.shell(t, "dumped-0", askDumped); got != want {
		t.Errorf("the server has %q, want %q", got, want)
	}
	s.runs(t, web.Name)
	if got := s.shell(t, web.Name, "wget -q -O - http://localhost:8080/atti/"); got != "atti" {
		t.Errorf("the page is %q", got)
	}
	if d := s.drill(t, "dump"); !*d.Passed || len(d.Checks) != len(checks) || d.BytesRead < 3<<20 {
		t.Errorf("the drill came to %+v", d)
	}
}
