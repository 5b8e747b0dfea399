package backups

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/dump"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/mover"
	"github.com/broletto/broletto/operator/volumes"
	"github.com/broletto/broletto/test/stage"
	"github.com/broletto/broletto/test/stores"
)

// kubelet runs the pods of movers in this process, on folders that stand for volumes. Everything else of them is real: the Job controller makes
// them, the binder binds their claims, and what they are told comes from whom the broker asks.
type kubelet struct {
	*scene
	admin   client.Client // of the cluster that it is in
	class   string
	folders string
	orders  *volumes.Orders
	// server is where all Services of databases lead to.
	server *stores.Postgres

	// upkeep has it run movers that look after the repository too. What they do is written whenever they are done: nothing is at rest meanwhile.
	upkeep bool
	// web are the host and port that stand for every service of the tenant, by scheme.
	web map[string]string

	mu sync.Mutex
	// spoil changes an order, or says that the pod dies.
	spoil func(o *move.Order) (dies bool)
	seen  []move.Order
}

// newKubelet gives the scene's tenant a class of volumes and runs movers until the test ends.
func newKubelet(s *scene, upkeep bool) *kubelet {
	s.Helper()
	return newKubeletIn(s, s.Admin, &volumes.Orders{Client: s.Parts().Client, Live: s.Live(), Depot: s.depot}, upkeep)
}

// newKubeletIn is newKubelet in whatever cluster, given the platform engineer's client.
func newKubeletIn(s *scene, admin client.Client, orders *volumes.Orders, upkeep bool) *kubelet {
	s.Helper()
	k := &kubelet{scene: s, admin: admin, upkeep: upkeep, class: s.ID("class"), folders: s.TempDir(), orders: orders}
	k.create(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: k.class}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingImmediate)})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := k.round(ctx); err != nil && ctx.Err() == nil {
				s.Logf("the kubelet: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	s.Cleanup(func() { stop(); running.Wait() })
	return k
}

// create makes an object until the test ends.
func (k *kubelet) create(o client.Object) {
	k.Helper()
	if err := k.admin.Create(k.Context(), o); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { _ = k.admin.Delete(context.Background(), o) }) // the cluster may be gone
}

// bind makes a volume for a claim and returns its folder.
func (k *kubelet) bind(namespace, claim string) string {
	k.Helper()
	folder := filepath.Join(k.folders, namespace, claim)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		k.Fatal(err)
	}
	k.provide(namespace+"-"+claim, &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: claim})
	return folder
}

// provide makes a volume, for one claim or whichever comes.
func (k *kubelet) provide(name string, claim *corev1.ObjectReference) {
	k.Helper()
	k.create(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: k.ID(name)}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName: k.class, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, ClaimRef: claim,
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "example.org", VolumeHandle: name}},
	}})
}

// volume has the workspace ask for a volume, and waits until it is bound.
func (k *kubelet) volume(name string) (folder string) {
	k.Helper()
	folder = k.bind(k.workspace.TargetNamespace(), name)
	stage.Edit(k.Stage, k.workspace, func(w *v1alpha1.Workspace) {
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: name, Size: "1Gi", Class: k.class}}}
	})
	c := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(k.workspace.TargetNamespace(), name)}
	k.Until("claim "+name+" is bound", func() error {
		if err := k.Admin.Get(k.Context(), client.ObjectKeyFromObject(c), c); err != nil || c.Status.Phase != corev1.ClaimBound {
			return cmp.Or(err, errors.New("it is not"))
		}
		return nil
	})
	k.CaughtUp(c)
	k.Ready(k.workspace)
	return folder
}

// round runs every pod of a mover that waits.
func (k *kubelet) round(ctx context.Context) error {
	var pods corev1.PodList
	if err := k.admin.List(ctx, &pods, client.HasLabels{v1alpha1.LabelRun}); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		owner := metav1.GetControllerOf(p)
		if p.Status.Phase != corev1.PodPending || owner == nil || !k.mine(p) || !p.DeletionTimestamp.IsZero() {
			continue
		}
		order, err := k.orders.Order(ctx, broker.Mover{Namespace: p.Namespace, Pod: p.Name, For: types.UID(p.Labels[v1alpha1.LabelRun]), Job: owner.UID})
		if errors.Is(err, broker.ErrLater) || errors.Is(err, broker.ErrNotAMover) {
			continue // it asks again
		}
		if err != nil {
			return err
		}
		if order.Question != nil && strings.HasSuffix(order.Question.URL, deaf) {
			continue // nobody takes it
		}
		if err := k.run(ctx, p, order); err != nil {
			return err
		}
	}
	return nil
}

// mine tells whether a pod works for the scene.
func (k *kubelet) mine(p *corev1.Pod) bool {
	return strings.HasPrefix(p.Namespace, k.tenant.Name+"--") || k.upkeep && p.Labels[v1alpha1.LabelRun] == string(k.repository.UID)
}

// run runs a mover and tells what came of it.
func (k *kubelet) run(ctx context.Context, p *corev1.Pod, o move.Order) error {
	k.mu.Lock()
	spoil := k.spoil
	k.seen = append(k.seen, o)
	k.mu.Unlock()
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			o.Path = filepath.Join(k.folders, p.Namespace, v.PersistentVolumeClaim.ClaimName)
		}
	}
	if o.Question != nil {
		if err := k.resolve(ctx, p, o.Question); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(k.folders, "mover-")
	if err != nil {
		return err
	}
	o.Config, o.Cache = filepath.Join(work, "config"), filepath.Join(work, "cache")
	if o.Stream != nil {
		end, err := k.beside(ctx, p, o.Stream)
		if err != nil {
			return err
		}
		defer end()
	} else if err := os.MkdirAll(cmp.Or(o.Path, work), 0o700); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(o.Config, 0o700), os.Mkdir(o.Cache, 0o700)); err != nil {
		return err
	}
	message := ""
	p.Status.Phase = corev1.PodFailed
	if spoil == nil || !spoil(&o) {
		report := mover.Mover{}.Run(ctx, o)
		text, err := json.Marshal(report)
		if err != nil {
			return err
		}
		message = string(text)
		if report.Failure == nil {
			p.Status.Phase = corev1.PodSucceeded
		}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "mover", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: message, FinishedAt: metav1.Now()}},
	}}
	return k.admin.Status().Update(ctx, p)
}

// beside runs the container beside a mover that is at a database, with what its environment says of the account.
func (k *kubelet) beside(ctx context.Context, p *corev1.Pod, s *move.Stream) (end func(), err error) {
	c := p.Spec.InitContainers[0]
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range k.server.Env(k.T, "") {
		if name, _, _ := strings.Cut(e, "="); name == "PATH" || name == "PGHOST" || name == "PGPORT" {
			env = append(env, e)
		}
	}
	for _, e := range c.Env {
		value := e.Value
		if e.Name == "PATH" || e.Name == "PGHOST" || e.Name == "PGPORT" {
			continue
		}
		if e.ValueFrom != nil {
			secret, from := &corev1.Secret{}, e.ValueFrom.SecretKeyRef
			if err := k.Admin.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: from.Name}, secret); err != nil {
				return nil, err
			}
			value = string(secret.Data[from.Key])
		}
		env = append(env, e.Name+"="+value)
	}
	folder, err := os.MkdirTemp("", "s") // names of sockets are short
	if err != nil {
		return nil, err
	}
	s.Socket = filepath.Join(folder, "s")
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- dump.PostgreSQL(s.Socket, c.Args[0] == "load", env, k.Output()).Serve(ctx) }()
	return func() {
		cancel()
		if err := errors.Join(<-ended, os.RemoveAll(folder)); err != nil {
			k.Error(err)
		}
	}, nil
}

// resolve does what the names' service of a cluster does, for a service that is there.
func (k *kubelet) resolve(ctx context.Context, p *corev1.Pod, q *move.Question) error {
	u, err := url.Parse(q.URL)
	if err != nil {
		return err
	}
	service, rest, _ := strings.Cut(u.Hostname(), ".")
	o := &corev1.Service{}
	if err := k.Admin.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: service}, o); err != nil {
		return err
	}
	if rest == p.Namespace+".svc" && u.Port() == strconv.Itoa(int(o.Spec.Ports[0].Port)) {
		u.Host = k.web[u.Scheme]
	}
	q.URL = u.String()
	return nil
}

// write makes files in a folder, by name.
func write(t testing.TB, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// read is what a folder holds, by name.
func read(t testing.TB, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // of the test's own folder
		out[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
