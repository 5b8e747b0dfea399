package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/embedded"
)

// plainWriters are as many as the operator has for a restore.
const plainWriters = 16

// returning backs a workspace of many objects up and brings it back into another, beside a plain client that writes the same objects.
type returning struct {
	*bench
	crowd  *crowd
	people client.Client // an administrator of the tenant
	report objectsReport
}

// objectsReport is what came of it.
type objectsReport struct {
	Objects, Cores int
	Turns          []objectsTurn
	Peak           int64 // of the operator, in bytes
}

// objectsTurn is one thing that was done with all objects.
type objectsTurn struct {
	What     string
	Seconds  float64
	CPU      cpu
	Requests map[string]int // by who asked for what
}

// The turns that are compared.
const (
	plainBare  = "plain client, bare namespace"
	plainAlike = "plain client, workspace"
	restored   = "restore"
)

// measureObjects runs all turns on one new control plane.
func measureObjects(ctx context.Context, o options) (_ *objectsReport, err error) {
	b, done, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	endpoint, stop, err := startStore(ctx, b.dir, o.progress)
	if err != nil {
		return nil, err
	}
	defer stop()
	p, _, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	guarded, cancel := p.guard(ctx)
	defer cancel()
	r := &returning{bench: b, report: objectsReport{Objects: o.objects, Cores: runtime.NumCPU()}}
	if err := r.prepare(guarded, endpoint); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
	}
	if err := r.turns(guarded); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
	}
	r.report.Peak, _ = p.memory()
	return &r.report, p.stop()
}

// startStore serves a bucket that locks, until it is stopped.
func startStore(ctx context.Context, dir string, progress io.Writer) (endpoint string, stop func(), err error) {
	programs, err := kube.BuildStores(ctx, progress)
	if err != nil {
		return "", nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	root := filepath.Join(dir, "store")
	if err := os.MkdirAll(filepath.Join(root, "salvataggi"), 0o700); err != nil {
		return "", nil, err
	}
	var said bytes.Buffer
	command := exec.Command(filepath.Join(programs, "versitygw"), "--port", address, "--quiet", "posix", root)
	command.Env = []string{"ROOT_ACCESS_KEY_ID=broletto", "ROOT_SECRET_ACCESS_KEY=segreto", "HOME=" + dir}
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended already
		_ = command.Wait()
	}
	for begun := time.Now(); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return "http://" + address, stop, c.Close()
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil || time.Since(begun) > time.Minute {
			stop()
			return "", nil, fmt.Errorf("the store does not serve: %w: %s", err, &said)
		}
	}
}

// prepare makes a repository, a tenant with two workspaces, and a bare namespace.
func (r *returning) prepare(ctx context.Context, endpoint string) (err error) {
	if r.crowd, err = newCrowd("conti", 500000, 1, 2); err != nil {
		return err
	}
	r.crowd.tenant.Spec.Limits.ObjectsPerWorkspace = new(int32(10000))
	if _, err := r.host(ctx, r.crowd); err != nil {
		return err
	}
	cfg, err := r.cluster.Config("anna", r.crowd.tenantName(0)+":ced")
	if err != nil {
		return err
	}
	cfg.UserAgent, cfg.QPS = plainAgent, -1
	if r.people, err = client.New(cfg, client.Options{Scheme: r.admin.Scheme(), Mapper: r.admin.RESTMapper()}); err != nil {
		return err
	}
	escrow, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	repository := &v1alpha1.BackupRepository{ObjectMeta: metav1.ObjectMeta{Name: "primario"}}
	repository.Spec = v1alpha1.BackupRepositorySpec{
		Consortium: r.crowd.name, Region: "it-varese-1", FailureDomain: "dc-1", Escrow: v1alpha1.AgeRecipient(escrow.Recipient().String()),
		S3: v1alpha1.BackupBucket{Endpoint: endpoint, Bucket: "salvataggi", CredentialsSecret: "primario"},
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bare}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "primario"}, StringData: map[string]string{
			"access-key-id": "broletto", "secret-access-key": "segreto",
		}},
		repository,
	} {
		if err := r.admin.Create(ctx, o); err != nil {
			return fmt.Errorf("making %s: %w", client.ObjectKeyFromObject(o), err)
		}
	}
	return r.await(ctx, repository)
}

func (r *returning) turns(ctx context.Context) error {
	from, into := r.crowd.newWorkspace(r.crowd.tenantName(0), 0), r.crowd.newWorkspace(r.crowd.tenantName(0), 1)
	b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: from.Namespace, Name: "tutto"}}
	b.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(from.Name), Repository: "primario"}
	restore := func(mode v1alpha1.RestoreMode) func() error {
		return func() error {
			o := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Namespace: from.Namespace, GenerateName: "indietro-"}}
			o.Spec = v1alpha1.RestoreSpec{Backup: b.Name, Mode: mode, Into: v1alpha1.RestoreTarget{Workspace: v1alpha1.WorkspaceName(into.Name)}}
			return r.made(ctx, o)
		}
	}
	for _, t := range []struct {
		what string
		do   func() error
	}{
		{plainAlike, func() error { return r.write(ctx, r.people, from.TargetNamespace()) }},
		{"backup, read back", func() error { return r.made(ctx, b) }},
		{"dry run", restore(v1alpha1.RestoreDryRun)},
		{restored, restore(v1alpha1.RestoreApply)},
		{"restore of what is there", restore(v1alpha1.RestoreApply)},
		{plainBare, func() error { return r.write(ctx, r.plainAdmin, bare) }},
	} {
		if err := r.turn(ctx, t.what, t.do); err != nil {
			return err
		}
	}
	return nil
}

// turn measures one turn.
func (r *returning) turn(ctx context.Context, what string, do func() error) error {
	mark, err := r.calm(ctx)
	if err != nil {
		return err
	}
	r.say("%s: %d objects", what, r.objects)
	before, begun := readCPU(), time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	t := objectsTurn{What: what, Seconds: time.Since(begun).Seconds(), CPU: readCPU().since(before), Requests: map[string]int{}}
	events, err := r.since(mark)
	for _, e := range events {
		if !isLease(e) {
			t.Requests[askerOf(e)+" "+e.Verb+" "+resourceOf(e)]++
		}
	}
	r.say("  %.1f s", t.Seconds)
	r.report.Turns = append(r.report.Turns, t)
	return err
}

// object is the ith: what a workspace of that size has, and no controller does much with.
func object(namespace string, i int) client.Object {
	at := metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("voce-%06d", i), Labels: map[string]string{"app": "conti"}}
	text := fmt.Sprintf("%0200d", i)
	switch {
	case i%10 < 3:
		return &corev1.Secret{ObjectMeta: at, Data: map[string][]byte{"voce": []byte(text)}}
	case i%10 < 6:
		return &corev1.ConfigMap{ObjectMeta: at, Data: map[string]string{"voce": text}}
	case i%10 < 8:
		return &corev1.ServiceAccount{ObjectMeta: at}
	}
	job := batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "conta", Image: "registry.example/conta:1"}},
	}}}}
	return &batchv1.CronJob{ObjectMeta: at, Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *", Suspend: new(true), JobTemplate: job}}
}

// write has a plain client make all objects, one POST each.
func (r *returning) write(ctx context.Context, as client.Client, namespace string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var writers sync.WaitGroup
	for range plainWriters {
		writers.Go(func() {
			for i := int(next.Add(1)) - 1; i < r.objects && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := as.Create(ctx, object(namespace, i)); err != nil {
					cancel(fmt.Errorf("writing object %d: %w", i, err))
				}
			}
		})
	}
	writers.Wait()
	return context.Cause(ctx)
}

// made writes a Backup or a Restore as the tenant's administrator, and waits until it is Ready and has all objects.
func (r *returning) made(ctx context.Context, o condition.Object) error {
	if err := r.people.Create(ctx, o); err != nil {
		return err
	}
	if err := r.await(ctx, o); err != nil {
		return err
	}
	n := 0
	switch o := o.(type) {
	case *v1alpha1.Backup:
		n = int(o.Status.Objects)
	case *v1alpha1.Restore:
		n = int(o.Status.Creates + o.Status.Same + o.Status.Skipped)
	}
	if n < r.objects {
		return fmt.Errorf("%s is Ready with %d objects of %d", o.GetName(), n, r.objects)
	}
	return nil
}

// await waits until an object is Ready.
func (r *returning) await(ctx context.Context, o condition.Object) error {
	ctx, stop := context.WithTimeoutCause(ctx, 4*patience, fmt.Errorf("not Ready within %s", 4*patience))
	defer stop()
	for !condition.True(o, v1alpha1.ConditionReady) {
		if condition.True(o, v1alpha1.ConditionStalled) {
			return fmt.Errorf("%s is Stalled: %v", o.GetName(), *o.GetConditions())
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w: %v", o.GetName(), err, *o.GetConditions())
		}
		if err := r.admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
	}
	return nil
}

// print writes the report for people.
func (r *objectsReport) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%d objects, %d writers, %d cores\ts\tprocessor s\tof the API server\trequests per object\n", r.Objects, plainWriters, r.Cores)
	by, others, seconds := map[string]objectsTurn{}, 0.0, 0.0
	for _, turn := range r.Turns {
		by[turn.What] = turn
		others, seconds = others+turn.CPU["others"], seconds+turn.Seconds
		often := map[string]float64{}
		for what, n := range turn.Requests {
			if perObject := float64(n) / float64(r.Objects); perObject >= 0.005 {
				who, rest, _ := strings.Cut(what, " ")
				verb, resource, _ := strings.Cut(rest, " ")
				if slices.Contains([]string{"secrets", "configmaps", "serviceaccounts", "cronjobs"}, resource) {
					resource = "objects"
				}
				often[who+" "+verb+" "+resource] += perObject
			}
		}
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%s\n", turn.What, turn.Seconds, turn.CPU.ours(), turn.CPU["kube-apiserver"], list(often, "%.2f"))
	}
	fmt.Fprintln(t)
	for _, beside := range []string{plainAlike, plainBare} {
		fmt.Fprintf(t, "%s by %s\t%.2f, of processor seconds %.2f\n", restored, beside, by[restored].Seconds/by[beside].Seconds, by[restored].CPU.ours()/by[beside].CPU.ours())
	}
	fmt.Fprintf(t, "memory of the operator, peak\t%.1f MiB\n", mebibytes(r.Peak))
	if others > seconds*float64(r.Cores)/10 {
		fmt.Fprintf(t, "\nOther programs kept this machine busy for %.0f processor seconds: trust the processor ratios more than the times.\n", others)
	}
	return t.Flush()
}
