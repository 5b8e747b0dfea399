package stacks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// town is one test's comune: a home namespace and one workspace.
type town struct {
	*testing.T
	*plant
	admin client.Client
	name  string
}

const workspace = "sito"

// newTown makes a comune with a workspace, and takes it away at the end.
func newTown(t *testing.T, name string) *town {
	t.Helper()
	w := &town{T: t, plant: running(t), admin: cluster.Client(t, cluster.Admin()), name: name}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the runners printed:\n%s", w.runnerLogs(t))
			t.Logf("the operator's log ends:\n%s", tail(w.operatorLog(), 30))
		}
	})
	consortium, tenant, site := w.consortium(), w.tenant(), &v1alpha1.Workspace{ObjectMeta: w.home(workspace)}
	site.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false), DeletionPolicy: v1alpha1.DeletionDelete}
	for _, o := range []condition.Object{consortium, tenant, site} {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cluster.Discard(context.WithoutCancel(t.Context()), w.admin, o) })
		w.ready(o)
	}
	return w
}

// tail are the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (w *town) consortium() *v1alpha1.Consortium {
	c := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "c-" + w.name}}
	c.Spec = v1alpha1.ConsortiumSpec{
		DisplayName: "Comuni in cloud", Country: v1alpha1.Italy, Currency: "EUR", TimeZone: "Europe/Rome",
		Agreement: v1alpha1.Agreement{
			Kind: "FrameworkAgreement", SignedOn: "2024-04-04", From: "2024-04-04", Purposes: []string{"gestione congiunta"},
			Consultation: "conferenza dei sindaci", Obligations: "riparto secondo chiave", NoticeMonths: 12,
		},
		JointEntity: v1alpha1.JointEntity{Name: "Ente", Form: "Planned"},
		Defaults: v1alpha1.Defaults{Workspace: v1alpha1.WorkspaceDefaults{Quota: v1alpha1.Quota{
			"requests.cpu": "4", "requests.memory": "8Gi", "limits.cpu": "20", "limits.memory": "20Gi", "requests.storage": "1Gi", "pods": "20",
		}}},
	}
	return c
}

func (w *town) tenant() *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	t.Spec = v1alpha1.TenantSpec{
		DisplayName: "Associazione", Kind: v1alpha1.Association, Consortium: "c-" + w.name, Codes: v1alpha1.Codes{Other: strings.ToUpper(w.name)},
		Memberships:    []v1alpha1.Membership{{Entry: "2024-04-04", Act: "accordo quadro", ConvenienceStudy: "studio preliminare"}},
		Administrators: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: w.name + ":ict"}},
		StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}},
		Quota: v1alpha1.Quota{
			"requests.cpu": "8", "requests.memory": "32Gi", "limits.cpu": "40", "limits.memory": "64Gi", "requests.storage": "100Gi", "pods": "100",
		},
	}
	return t
}

// home and site are the metadata of an object in the comune's home namespace, and in its workspace; label is a key and a value.
func (w *town) home(name string, label ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: w.name, Name: name}
	if len(label) == 2 {
		m.Labels = map[string]string{label[0]: label[1]}
	}
	return m
}

func (w *town) site(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.name + "--" + workspace, Name: name}
}

// insegna is the object that the programs make.
func (w *town) insegna() *corev1.ConfigMap { return &corev1.ConfigMap{ObjectMeta: w.site("insegna")} }

// stack is one that has a program of testdata for its source.
func (w *town) stack(name string, engine v1alpha1.EngineName, program string) *v1alpha1.Stack {
	w.Helper()
	s := &v1alpha1.Stack{ObjectMeta: w.home(name)}
	s.Spec = v1alpha1.StackSpec{Workspace: workspace, Engine: engine, TimeoutMinutes: 10}
	s.Spec.Source.Inline = map[string]v1alpha1.SourceText{}
	files, err := filepath.Glob(filepath.Join("testdata", program, "*"))
	if err != nil || len(files) == 0 {
		w.Fatalf("no program %s: %v", program, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			w.Fatal(err)
		}
		s.Spec.Source.Inline[filepath.Base(file)] = v1alpha1.SourceText(text)
	}
	s.Spec.Variables = map[string]apiextensionsv1.JSON{"motto": text("digital first"), "namespace": text(w.site("").Namespace)}
	return s
}

// text is a text as JSON.
func text(value string) apiextensionsv1.JSON {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return apiextensionsv1.JSON{Raw: raw}
}

func (w *town) create(o client.Object) {
	w.Helper()
	if err := w.admin.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *town) read(o client.Object) {
	w.Helper()
	if err := w.admin.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
}

// edit changes a stack as it is now.
func (w *town) edit(s *v1alpha1.Stack, change func()) {
	w.Helper()
	w.until("stack "+s.Name+" is changed", func() error {
		w.read(s)
		change()
		return w.admin.Update(w.Context(), s)
	})
}

// touch has the operator look at a stack again.
func (w *town) touch(s *v1alpha1.Stack) {
	w.Helper()
	w.edit(s, func() { s.Spec.TimeoutMinutes++ })
}

// remove deletes an object and waits until it is gone.
func (w *town) remove(o client.Object) {
	w.Helper()
	if err := w.admin.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
	w.until(o.GetName()+" is gone", func() error {
		err := w.admin.Get(w.Context(), client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if s, isStack := o.(*v1alpha1.Stack); isStack {
			return fmt.Errorf("it is there: %w, %+v", err, s.Status.Conditions)
		}
		return fmt.Errorf("it is there: %w", err)
	})
}

func (w *town) ready(o condition.Object) {
	w.Helper()
	w.until(o.GetName()+" is ready", func() error {
		w.read(o)
		if o.GetObservedGeneration() != o.GetGeneration() || !meta.IsStatusConditionTrue(*o.GetConditions(), v1alpha1.ConditionReady) {
			return fmt.Errorf("it says %+v", *o.GetConditions())
		}
		return nil
	})
}

// waits waits until a plan of the stack as it is waits for approval.
func (w *town) waits(s *v1alpha1.Stack) {
	w.Helper()
	w.until(s.Name+" waits for approval", func() error {
		w.read(s)
		ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
		if s.Status.ObservedGeneration != s.Generation || ready == nil || ready.Reason != v1alpha1.ReasonAwaitingApproval {
			return fmt.Errorf("it says %+v", s.Status.Conditions)
		}
		return nil
	})
}

func (w *town) approve(s *v1alpha1.Stack) {
	w.Helper()
	w.edit(s, func() { s.Spec.ApprovedPlan = s.Status.Plan.Digest })
}

func (w *town) says(s *v1alpha1.Stack, kind string, want metav1.ConditionStatus) {
	w.Helper()
	w.until(fmt.Sprintf("%s is %s", kind, want), func() error {
		w.read(s)
		if c := meta.FindStatusCondition(s.Status.Conditions, kind); c == nil || c.Status != want {
			return fmt.Errorf("it says %+v", s.Status.Conditions)
		}
		return nil
	})
}

func (w *town) spoil() {
	w.Helper()
	o := w.insegna()
	w.read(o)
	o.Data["motto"] = "spoiled"
	if err := w.admin.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *town) wantMotto(want string) {
	w.Helper()
	o := w.insegna()
	w.read(o)
	if got := o.Data["motto"]; got != want {
		w.Errorf("the motto is %q, want %q", got, want)
	}
}

func (w *town) wantOutputs(secret string, want map[string]string) {
	w.Helper()
	o := &corev1.Secret{ObjectMeta: w.site(secret)}
	w.read(o)
	got := map[string]string{}
	for key, value := range o.Data {
		got[key] = string(value)
	}
	if !maps.Equal(got, want) {
		w.Errorf("the outputs are %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// wantCanaryOnlyAt looks for the canary, in every encoding, in every object of every kind of the cluster, in the operator's metrics and log, in the
// runners' logs and in all files but those of etcd and of pods that run. It may stand in these Secrets alone.
func (w *town) wantCanaryOnlyAt(secrets ...string) {
	w.Helper()
	config := cluster.Admin()
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		w.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		w.Fatal(err)
	}
	lists, err := d.ServerPreferredResources()
	if err != nil {
		w.Fatal(err)
	}
	resources, err := discovery.GroupVersionResources(discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists))
	if err != nil {
		w.Fatal(err)
	}
	for resource := range resources {
		list, err := dyn.Resource(resource).List(w.Context(), metav1.ListOptions{})
		if err != nil {
			w.Fatal(err)
		}
		for _, o := range list.Items {
			if o.GetKind() == "Secret" && slices.Contains(secrets, o.GetName()) {
				continue
			}
			w.wantNoCanary(o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName(), everything(w, o))
		}
	}
	w.wantNoCanary("the operator's log", w.operatorLog())
	w.wantNoCanary("the runners' logs", w.runnerLogs(w.T))
	w.wantNoCanary("the operator's metrics", w.readMetrics())
	for _, path := range w.filesLeft() {
		if raw, err := os.ReadFile(path); err == nil { // it may be gone
			w.wantNoCanary(path, string(raw))
		}
	}
}

// filesLeft are the files that control plane and node keep.
func (w *town) filesLeft() (paths []string) {
	w.Helper()
	skipped := []string{filepath.Join(cluster.Plane().Dir(), "etcd"), filepath.Join(w.node, "pods")}
	err := filepath.WalkDir(cluster.Plane().Dir(), func(path string, entry os.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && slices.Contains(skipped, path) {
			return filepath.SkipDir
		}
		if err == nil && entry.Type().IsRegular() {
			paths = append(paths, path)
		}
		return nil // it may be gone
	})
	if err != nil || len(paths) == 0 {
		w.Fatalf("no files: %v", err)
	}
	return paths
}

// readMetrics is what the operator tells somebody who may read its metrics.
func (w *town) readMetrics() string {
	w.Helper()
	reader := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "reader-" + w.name}}
	w.create(reader)
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reader.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: reader.Namespace, Name: reader.Name}},
	})
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "https://"+w.metrics+"/metrics", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cluster.Account(w, reader.Namespace, reader.Name).BearerToken)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it signs itself
	var text string
	w.until("the operator tells its metrics", func() error {
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(resp.Body)
		if text = string(raw); !strings.Contains(text, "broletto_broker_requests_total") {
			err = errors.Join(err, fmt.Errorf("%s: %s", resp.Status, tail(text, 3)))
		}
		return errors.Join(err, resp.Body.Close())
	})
	return text
}

// besides looks at all processes while a stack's runs are under way, until done: none has the canary among its arguments, and none but an engine
// and what it started in its environment.
func (w *town) besides() (done func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	engines := 0
	go func() {
		defer close(stopped)
		own, _ := os.Readlink("/proc/self/ns/mnt")
		for {
			processes, _ := filepath.Glob("/proc/[0-9]*")
			for _, process := range processes {
				line, _ := os.ReadFile(process + "/cmdline") // it may have ended
				w.wantNoCanary("the command line of "+process, string(line))
				space, _ := os.Readlink(process + "/ns/mnt")
				if bytes.HasPrefix(line, []byte("/engines/")) {
					engines++
				}
				if space != own && space != "" && !bytes.HasPrefix(line, []byte("/broletto-runner")) {
					continue // it is in a jail, and not the runner
				}
				environment, _ := os.ReadFile(process + "/environ")
				w.wantNoCanary("the environment of "+process+" ("+string(line)+")", string(environment))
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	done = sync.OnceFunc(func() {
		close(stop)
		<-stopped
		if engines == 0 {
			w.Error("no engine was seen at work")
		}
	})
	w.Cleanup(done)
	return done
}

// everything is an object's JSON, and below it every value that is base64, decoded.
func everything(w *town, o unstructured.Unstructured) string {
	raw, err := json.Marshal(o.Object)
	if err != nil {
		w.Fatal(err)
	}
	out := string(raw)
	if data, found, _ := unstructured.NestedStringMap(o.Object, "data"); found {
		for _, value := range data {
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
				out += "\n" + string(plain)
			}
		}
	}
	return out
}

func (w *town) wantNoCanary(where, text string) {
	w.Helper()
	escaped, _ := json.Marshal(canary)
	for _, form := range []string{
		canary, strings.Trim(string(escaped), `"`), strings.ReplaceAll(canary, "&", `\u0026`), base64.StdEncoding.EncodeToString([]byte(canary))[:32],
		base64.RawURLEncoding.EncodeToString([]byte(canary))[:32], fmt.Sprintf("%x", canary), strings.ReplaceAll(canary, "'", "%27"),
	} {
		if strings.Contains(text, form) {
			w.Errorf("%s holds the canary", where)
			return
		}
	}
}
