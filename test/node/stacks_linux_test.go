package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
)

const (
	// cantiere is the workspace of all stacks here. It may reach gitAddress and no more of the world.
	cantiere = "lugano--cantiere"
	// gitAddress is of a range of private addresses that the platform lets sources be at.
	gitAddress = "10.20.0.10:8443"
	// runPatience is how long anything about runs may take: several share two cores, and after a failure they wait before they try again.
	runPatience = 10 * time.Minute
)

// TestStacks runs stacks in real pods, as the comune's administrator has them, in a workspace that only takes restricted pods.
func TestStacks(t *testing.T) {
	cities(t)
	unprotect(t)
	_, lugano := the.as(t, "administrator", "lugano:ict")
	w := &v1alpha1.Workspace{ObjectMeta: stage.In("lugano", "cantiere")}
	w.Spec = v1alpha1.WorkspaceSpec{
		Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false), DeletionPolicy: v1alpha1.DeletionDelete,
		Quota:   v1alpha1.Quota{"requests.cpu": "2", "requests.memory": "4Gi", "limits.cpu": "12", "limits.memory": "12Gi", "requests.storage": "1Gi", "pods": "40"},
		Network: v1alpha1.WorkspaceNetwork{Egress: []v1alpha1.Egress{{CIDR: "10.20.0.0/24", Ports: []int32{8443}}}},
	}
	codes := &corev1.Secret{ObjectMeta: stage.In("lugano", "codici"), Data: map[string][]byte{"codice": []byte("riservato")}}
	codes.Labels = map[string]string{v1alpha1.LabelUse: v1alpha1.UseStackVariables}
	for _, o := range []client.Object{w, codes} {
		if err := lugano.Create(t.Context(), o); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	ready(t, w)
	seen := watchRuns(t)
	if !t.Run("Runs", func(t *testing.T) {
		for engine, program := range map[v1alpha1.EngineName]string{v1alpha1.OpenTofu: "opentofu", v1alpha1.Terraform: "opentofu", v1alpha1.Pulumi: "pulumi"} {
			t.Run(string(engine), func(t *testing.T) {
				t.Parallel()
				live(newStack(t, "insegna-"+strings.ToLower(string(engine)), engine, program))
			})
		}
		t.Run("Git", func(t *testing.T) { t.Parallel(); fetched(t) })
		t.Run("Killed", func(t *testing.T) { t.Parallel(); killed(t) })
		t.Run("Deleted", func(t *testing.T) { t.Parallel(); deleted(t) })
	}) {
		return
	}
	seen.wantOnePodEach(t)
	if err := lugano.Delete(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// unprotect has the consortium protect just the cluster's own addresses, so that a workspace may open others by range, until the test ends.
func unprotect(t *testing.T) {
	t.Helper()
	c := the.admin(t)
	protect := func(ctx context.Context, ranges ...v1alpha1.CIDR) error {
		ticino := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "ticino"}}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"network": map[string]any{"protectedCIDRs": ranges}}})
		if err != nil {
			return err
		}
		return c.Patch(ctx, ticino, client.RawPatch("application/merge-patch+json", patch))
	}
	if err := protect(t.Context(), "10.96.0.0/12", "10.244.0.0/16", "172.30.0.0/24"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := protect(context.WithoutCancel(t.Context())); err != nil { // null: the default
			t.Error(err)
		}
	})
}

// built is a stack of Lugano's in the workspace cantiere.
type built struct {
	*testing.T
	stack *v1alpha1.Stack
	c     client.Client // of the comune's administrator
}

// newStack describes a stack with a program of test/stacks or of ours. Its object is named after it.
func newStack(t *testing.T, name string, engine v1alpha1.EngineName, program string) *built {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil && engine == v1alpha1.Terraform {
		t.Skip("the Terraform CLI is not installed here, and cannot be built: its licence keeps it out")
	}
	_, c := the.as(t, "administrator", "lugano:ict")
	s := &built{T: t, c: c, stack: &v1alpha1.Stack{ObjectMeta: stage.In("lugano", name)}}
	s.stack.Spec = v1alpha1.StackSpec{Workspace: "cantiere", Engine: engine, TimeoutMinutes: 10}
	s.stack.Spec.Source.Inline = map[string]v1alpha1.SourceText{}
	s.stack.Spec.Variables = map[string]apiextensionsv1.JSON{"namespace": text(cantiere)}
	folder := filepath.Join(repository, "test", "stacks", "testdata", program)
	if program == "cantiere" {
		folder = "testdata/stacks/cantiere"
		s.stack.Spec.Variables["name"] = text(name)
	} else {
		s.stack.Spec.Variables["motto"] = text("digital first")
		s.stack.Spec.VariablesFrom = []v1alpha1.VariablesSource{{Secret: "codici", Presence: v1alpha1.Required}}
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// Several of them share a workspace.
		s.stack.Spec.Source.Inline[file.Name()] = v1alpha1.SourceText(strings.ReplaceAll(string(source), "insegna", name))
	}
	return s
}

func text(value string) apiextensionsv1.JSON {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // it is a text
	}
	return apiextensionsv1.JSON{Raw: raw}
}

func (s *built) create() {
	s.Helper()
	if err := s.c.Create(s.Context(), s.stack); err != nil {
		s.Fatal(err)
	}
}

// until waits until the stack is as it should be, and tells what its pods did if it never is.
func (s *built) until(what string, f func() error) {
	s.Helper()
	cluster.Eventually(s, runPatience, what, func() error {
		if err := s.c.Get(s.Context(), client.ObjectKeyFromObject(s.stack), s.stack); err != nil {
			return err
		}
		if err := f(); err != nil {
			return fmt.Errorf("%w; stack %s says %+v\n%s", err, s.stack.Name, s.stack.Status.Conditions, pods.Explain(s.Context(), the.admin(s), cantiere))
		}
		return nil
	})
}

// says waits until a condition of the stack as it is now has a status, a reason or both.
func (s *built) says(condition string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	s.Helper()
	var found *metav1.Condition
	s.until(condition+" is "+string(status)+" "+reason, func() error {
		found = meta.FindStatusCondition(s.stack.Status.Conditions, condition)
		if s.stack.Status.ObservedGeneration != s.stack.Generation || found == nil || found.Status != status || reason != "" && found.Reason != reason {
			return errors.New("it is not")
		}
		return nil
	})
	return found
}

func (s *built) edit(change func()) {
	s.Helper()
	s.until("it is changed", func() error {
		change()
		return s.c.Update(s.Context(), s.stack)
	})
}

// remove deletes the stack and waits until it is gone.
func (s *built) remove() {
	s.Helper()
	if err := s.c.Delete(s.Context(), s.stack); err != nil {
		s.Fatal(err)
	}
	cluster.Eventually(s, runPatience, "stack "+s.stack.Name+" is gone", func() error {
		err := s.c.Get(s.Context(), client.ObjectKeyFromObject(s.stack), s.stack)
		if err == nil {
			return fmt.Errorf("it says %+v", s.stack.Status.Conditions)
		}
		return client.IgnoreNotFound(err)
	})
}

// made is the object that the programs of test/stacks make.
func (s *built) made() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: stage.In(cantiere, s.stack.Name)}
}

func (s *built) wantMotto(want string) {
	s.Helper()
	o := s.made()
	if err := s.c.Get(s.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		s.Fatal(err)
	}
	if o.Data["motto"] != want {
		s.Errorf("the motto is %q, want %q", o.Data["motto"], want)
	}
}

// live follows a stack from its first plan to its end.
func live(s *built) {
	s.stack.Spec.Drift = &v1alpha1.Drift{EveryHours: 1}
	s.create()
	s.says(v1alpha1.ConditionReady, "False", v1alpha1.ReasonAwaitingApproval)
	if s.stack.Status.Executor != "Job" || s.stack.Status.Plan.Adds == 0 {
		s.Errorf("it is run by %q and plans %+v", s.stack.Status.Executor, s.stack.Status.Plan)
	}
	s.edit(func() { s.stack.Spec.ApprovedPlan = s.stack.Status.Plan.Digest })
	s.says(v1alpha1.ConditionReady, "True", "")
	s.wantMotto("digital first")

	o := s.made()
	if err := s.c.Patch(s.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"motto":"spoiled"}}`))); err != nil {
		s.Fatal(err)
	}
	s.age(2 * time.Hour) // a look is due
	s.edit(func() { s.stack.Spec.TimeoutMinutes++ })
	s.says(v1alpha1.ConditionDrifted, "True", "")
	s.wantMotto("spoiled") // a report changes nothing
	s.edit(func() { s.stack.Spec.Drift.Action = v1alpha1.DriftApply })
	s.says(v1alpha1.ConditionDrifted, "False", "")
	s.wantMotto("digital first")
	s.remove()
	if err := s.c.Get(s.Context(), client.ObjectKeyFromObject(o), o); client.IgnoreNotFound(err) != nil || err == nil {
		s.Errorf("what the stack made is still there (%v)", err)
	}
}

// age has all that the stack's runs did happen so much earlier, as only the platform engineer can.
func (s *built) age(by time.Duration) {
	s.Helper()
	admin := the.admin(s)
	for _, r := range s.runs() {
		cluster.Eventually(s, time.Minute, "run "+r.Name+" is older", func() error {
			if err := admin.Get(s.Context(), client.ObjectKeyFromObject(&r), &r); err != nil {
				return err
			}
			r.Status.FinishedAt = new(metav1.NewTime(r.Status.FinishedAt.Add(-by)))
			return admin.Status().Update(s.Context(), &r)
		})
	}
}

// runs are the stack's, the oldest first.
func (s *built) runs() []v1alpha1.StackRun {
	s.Helper()
	var all v1alpha1.StackRunList
	if err := s.c.List(s.Context(), &all, client.InNamespace(s.stack.Namespace), client.MatchingLabels{v1alpha1.LabelStack: s.stack.Name}); err != nil {
		s.Fatal(err)
	}
	slices.SortFunc(all.Items, func(a, b v1alpha1.StackRun) int { return int(a.Spec.Attempt - b.Spec.Attempt) })
	return all.Items
}

// underWay begins a stack that waits while it applies, and returns the pod of its run.
func underWay(s *built) *corev1.Pod {
	s.Helper()
	s.stack.Spec.Approval = v1alpha1.ApprovalAutomatic
	s.create()
	var list corev1.PodList
	s.until("the run of "+s.stack.Name+" applies", func() error {
		if err := s.c.Get(s.Context(), client.ObjectKey{Namespace: cantiere, Name: s.stack.Name}, &appsv1.Deployment{}); err != nil {
			return err
		}
		return s.c.List(s.Context(), &list, client.InNamespace(cantiere), client.MatchingLabels{v1alpha1.LabelStack: s.stack.Name})
	})
	if len(list.Items) != 1 || list.Items[0].Status.Phase != corev1.PodRunning {
		s.Fatalf("the run has %d pods:\n%s", len(list.Items), pods.Explain(s.Context(), the.admin(s), cantiere))
	}
	return &list.Items[0]
}

// goesOn lets what a stack waits for come about, and wants that it is ready by itself after its first run failed so.
func (s *built) goesOn(class v1alpha1.FailureClass, message string) {
	s.Helper()
	s.until("the first run has failed", func() error {
		if first := s.runs()[0]; first.Status.Phase != v1alpha1.RunFailed {
			return fmt.Errorf("it is %s", first.Status.Phase)
		}
		return nil
	})
	first := s.runs()[0]
	if f := first.Status.Failure; f == nil || f.Class != class || !strings.Contains(f.Message, message) {
		s.Errorf("the run failed with %+v, want %s and %q", f, class, message)
	}
	done := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))
	s.until("the stack goes on", func() error {
		if len(s.runs()) > 1 {
			_ = s.c.Patch(s.Context(), &appsv1.Deployment{ObjectMeta: stage.In(cantiere, s.stack.Name)}, done)
		}
		if !meta.IsStatusConditionTrue(s.stack.Status.Conditions, v1alpha1.ConditionReady) {
			return errors.New("it is not ready")
		}
		return nil
	})
	s.remove()
}

// killed kills the runner on its node, as a node that is short of memory does, after it was seen whom it reaches.
func killed(t *testing.T) {
	s := newStack(t, "ucciso", v1alpha1.OpenTofu, "cantiere")
	pod := underWay(s)
	pid := inNode(t, pod)
	wantJailed(t, pid)
	wantFenced(s, pod, pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.goesOn(v1alpha1.FailureLost, "")
}

// deleted deletes the pod of a run, which is told to end and has its time to.
func deleted(t *testing.T) {
	s := newStack(t, "rimosso", v1alpha1.OpenTofu, "cantiere")
	if err := s.c.Delete(t.Context(), underWay(s)); err != nil {
		t.Fatal(err)
	}
	s.goesOn(v1alpha1.FailureInfrastructure, "told to end")
}

// inNode is the number of a pod's first process, as the machine counts.
func inNode(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		group, _ := os.ReadFile(path)
		status, _ := os.ReadFile(filepath.Dir(path) + "/status")
		if id != "" && strings.Contains(string(group), id) && fields(string(status), "NSpid")[len(fields(string(status), "NSpid"))-1] == "1" {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("pod %s has no process here", pod.Name)
	return 0
}

// fields are the words of a line in a file below /proc.
func fields(status, name string) []string {
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			return strings.Fields(rest)
		}
	}
	return []string{""}
}

// wantJailed looks at what the kernel holds a run's process to.
func wantJailed(t *testing.T, pid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Uid": "65532", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := fields(string(status), name)[0]; got != want {
			t.Errorf("the runner's %s is %s, want %s", name, got, want)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	if root := strings.Fields(string(mounts)); len(root) < 6 || root[4] != "/" || !strings.HasPrefix(root[5], "ro") {
		t.Errorf("the runner's root is mounted as %s", strings.Join(root[:min(6, len(root))], " "))
	}
}

// wantFenced tries whom a run's pod reaches, and who else of its workspace does: the broker and the API server are open to it by its network
// policy and no other way.
func wantFenced(s *built, pod *corev1.Pod, pid int) {
	s.Helper()
	ordinary, stranger := clientOf(cantiere), spot{bellinzona, near}
	at := settle(s.T, ordinary, stranger, clientOf(bellinzona))
	broker := &corev1.Service{ObjectMeta: stage.In(system, "broletto-broker")}
	admin := the.admin(s)
	if err := admin.Get(s.Context(), client.ObjectKeyFromObject(broker), broker); err != nil {
		s.Fatal(err)
	}
	open := []string{net.JoinHostPort(broker.Spec.ClusterIP, "9443"), "10.96.0.1:443"}
	var operators corev1.PodList
	if err := admin.List(s.Context(), &operators, client.InNamespace(system)); err != nil {
		s.Fatal(err)
	}
	for _, o := range operators.Items {
		open = append(open, net.JoinHostPort(o.Status.PodIP, "9443"))
	}
	strangers := net.JoinHostPort(at[stranger].pod, strconv.Itoa(probePort))
	clientOf(bellinzona).reaches(s.T, true, "tcp://"+strangers)
	closed := []string{strangers, "169.254.169.254:443", "203.0.113.10:443"}
	for _, n := range nodes {
		if n.name != pod.Spec.NodeName { // that of a pod's own node is always open to it
			closed = append(closed, n.address+":10250")
		}
	}
	for _, address := range closed {
		if err := dial(pid, address); err == nil {
			s.Errorf("a run's pod reaches %s", address)
		}
	}
	var targets []string
	for _, address := range open {
		targets = append(targets, "tcp://"+address)
	}
	ordinary.reaches(s.T, false, targets...)
	s.wantReached(pid, true, open...)

	policy := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(cantiere, "stack-"+s.stack.Name)}
	if err := admin.Get(s.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
		s.Fatal(err)
	}
	if err := admin.Delete(s.Context(), policy); err != nil {
		s.Fatal(err)
	}
	s.wantReached(pid, false, open...)
	policy.ResourceVersion, policy.UID = "", ""
	if err := admin.Create(s.Context(), policy); err != nil {
		s.Fatal(err)
	}
	s.wantReached(pid, true, open...)
}

// wantReached waits until a run's pod reaches all addresses, or none.
func (s *built) wantReached(pid int, want bool, addresses ...string) {
	s.Helper()
	cluster.Eventually(s, time.Minute, fmt.Sprintf("a run's pod reaches them: %t", want), func() error {
		for _, address := range addresses {
			if err := dial(pid, address); (err == nil) != want {
				return fmt.Errorf("%s is open: %t", address, err == nil)
			}
		}
		return nil
	})
}

// fetched takes a stack's code from a server at a private address, which platform and workspace both allow; what one of them does not
// is told apart.
func fetched(t *testing.T) {
	url, ca := gitServer(t, filepath.Join(repository, "test", "stacks", "testdata", "opentofu"), gitAddress)
	for _, c := range []struct{ name, url, reason, want string }{
		{"accanto", strings.Replace(url, "10.20.0.10", "10.21.0.10", 1), v1alpha1.ReasonInvalidSource, "--source-ranges"},
		{"chiuso", strings.Replace(url, "10.20.0.10", "198.51.100.10", 1), v1alpha1.ReasonRunFailed, "spec.network.egress"},
		{"aperto", url, v1alpha1.ReasonAwaitingApproval, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, c.name, v1alpha1.OpenTofu, "opentofu")
			secret := &corev1.Secret{ObjectMeta: stage.In("lugano", c.name), Data: map[string][]byte{"ca.crt": ca}}
			secret.Labels = map[string]string{v1alpha1.LabelUse: v1alpha1.UseSourceCredentials}
			if err := s.c.Create(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			s.stack.Spec.Source = v1alpha1.StackSource{Git: &v1alpha1.GitSource{URL: c.url, Revision: "main", Secret: v1alpha1.SecretName(c.name)}}
			s.create()
			if says := s.says(v1alpha1.ConditionReady, "False", c.reason); !strings.Contains(says.Message, c.want) {
				t.Errorf("it says %q, want %q", says.Message, c.want)
			}
			s.remove()
			if err := s.c.Delete(t.Context(), secret); err != nil {
				t.Error(err)
			}
		})
	}
}

// runPods are all pods of runs that were ever seen, by run, and for each stack how many ran at once.
type runPods struct {
	sync.Mutex
	byRun   map[string]map[string]bool
	running map[string]map[string]bool // by stack
	twice   []string
}

// watchRuns looks at every change of every pod of a run until the test ends.
func watchRuns(t *testing.T) *runPods {
	t.Helper()
	cfg, err := the.Config("platform-engineer", masters)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	changes, err := c.Watch(ctx, &corev1.PodList{}, client.InNamespace(cantiere), client.HasLabels{v1alpha1.LabelRun})
	if err != nil {
		t.Fatal(err)
	}
	seen := &runPods{byRun: map[string]map[string]bool{}, running: map[string]map[string]bool{}}
	var watching sync.WaitGroup
	watching.Go(func() {
		for change := range changes.ResultChan() {
			if pod, is := change.Object.(*corev1.Pod); is {
				seen.add(pod, change.Type == "DELETED")
			}
		}
	})
	t.Cleanup(func() { stop(); changes.Stop(); watching.Wait() })
	return seen
}

func (p *runPods) add(pod *corev1.Pod, gone bool) {
	p.Lock()
	defer p.Unlock()
	run, stack := pod.Labels[v1alpha1.LabelRun], pod.Labels[v1alpha1.LabelStack]
	for key, in := range map[string]map[string]map[string]bool{run: p.byRun, stack: p.running} {
		if in[key] == nil {
			in[key] = map[string]bool{}
		}
		in[key][pod.Name] = true
	}
	if gone || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		delete(p.running[stack], pod.Name)
	}
	if len(p.running[stack]) > 1 {
		p.twice = append(p.twice, stack)
	}
}

// wantOnePodEach wants that every run had one pod, and that no stack ever had two at once.
func (p *runPods) wantOnePodEach(t *testing.T) {
	t.Helper()
	p.Lock()
	defer p.Unlock()
	for run, pods := range p.byRun {
		if len(pods) != 1 {
			t.Errorf("run %s had %d pods", run, len(pods))
		}
	}
	if len(p.byRun) < 4 {
		t.Errorf("only %d runs were seen, so this proves little", len(p.byRun))
	}
	if len(p.twice) > 0 {
		t.Errorf("stacks %v had two pods at once", p.twice)
	}
}
