package localnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/operator/localnode/jail"
	"github.com/broletto/broletto/operator/run"
)

// lastID is the user and group of the first slot, which is that of a runner's image. The others count down: no two pods that run at the same
// time have one user, so none can signal or look into another's processes.
const lastID = 65532

// plan is what it takes to start a pod's process.
type plan struct {
	jail   jail.Jail
	env    []string
	work   string // where the process starts
	tokens []token
}

// token is a file with a service account's token.
type token struct {
	file     string
	audience string
	life     time.Duration
	renewAt  time.Time
}

// runnerTarget is where the runner is in a jail.
const runnerTarget = "/broletto-runner"

// prepare makes the pod's volumes and says how to start its process.
func (w *worker) prepare(ctx context.Context) (*plan, error) {
	c, err := onlyContainer(w.pod)
	if err != nil {
		return nil, err
	}
	p := &plan{jail: jail.Jail{Root: w.path("root"), ID: lastID - w.slot, Runner: runnerTarget}}
	for _, folder := range []string{w.path("root"), w.path("volumes")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	for _, m := range c.VolumeMounts {
		mounted, err := w.volume(ctx, p, m)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", m.Name, err)
		}
		p.jail.Mounts = append(p.jail.Mounts, mounted)
	}
	if err := w.environment(p, c); err != nil {
		return nil, err
	}
	p.jail.Mounts = append(p.jail.Mounts, jail.Mount{Source: w.node.Runner, Target: runnerTarget})
	if w.node.Engines != "" {
		p.jail.Mounts = append(p.jail.Mounts, jail.Mount{Source: w.node.Engines, Target: run.DefaultEngines})
		installed, err := linked(w.node.Engines)
		if err != nil {
			return nil, err
		}
		p.jail.Mounts = append(p.jail.Mounts, installed...)
	}
	return p, nil
}

// linked are the programs elsewhere on this machine that links in the engines' folder lead to, each at its own path.
func linked(engines string) (out []jail.Mount, err error) {
	entries, err := os.ReadDir(engines)
	if err != nil {
		return nil, fmt.Errorf("reading the engines: %w", err)
	}
	for _, entry := range entries {
		if entry.Type()&os.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(engines, entry.Name()))
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(target); err == nil && filepath.IsAbs(target) {
			out = append(out, jail.Mount{Source: target, Target: target})
		}
	}
	return out, nil
}

// onlyContainer is the runner's; a pod that wants more is not a run's.
func onlyContainer(pod *corev1.Pod) (*corev1.Container, error) {
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 || pod.Spec.Containers[0].Name != Container {
		return nil, fmt.Errorf("the local node runs one container named %s and no others", Container)
	}
	c := &pod.Spec.Containers[0]
	if len(c.EnvFrom) != 0 || len(c.Command) != 0 || len(c.Args) != 0 {
		return nil, errors.New("the local node knows no command, args or envFrom: leave them out")
	}
	return c, nil
}

// volume makes the folder of a volume, on this machine.
func (w *worker) volume(ctx context.Context, p *plan, m corev1.VolumeMount) (jail.Mount, error) {
	i := slices.IndexFunc(w.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	if i < 0 || m.SubPath != "" || m.SubPathExpr != "" {
		return jail.Mount{}, errors.New("the local node mounts whole volumes of the pod only")
	}
	if !path.IsAbs(m.MountPath) || path.Clean(m.MountPath) != m.MountPath || m.MountPath == "/" {
		return jail.Mount{}, fmt.Errorf("%s is no folder to mount on", m.MountPath)
	}
	v := w.pod.Spec.Volumes[i]
	folder := w.path("volumes", v.Name) // a DNS label
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return jail.Mount{}, err
	}
	switch {
	case v.EmptyDir != nil:
		out := jail.Mount{Source: folder, Target: m.MountPath, Write: !m.ReadOnly}
		if limit := v.EmptyDir.SizeLimit; v.EmptyDir.Medium == corev1.StorageMediumMemory && limit != nil {
			out.Memory = limit.Value()
		}
		return out, w.own(p, folder)
	case v.Projected != nil:
		return jail.Mount{Source: folder, Target: m.MountPath}, w.project(ctx, p, folder, v.Projected)
	}
	return jail.Mount{}, errors.New("the local node knows emptyDir and projected volumes only")
}

// project fills a folder with what a projected volume names.
func (w *worker) project(ctx context.Context, p *plan, folder string, v *corev1.ProjectedVolumeSource) error {
	if err := w.own(p, folder); err != nil {
		return err
	}
	for _, s := range v.Sources {
		var err error
		switch {
		case s.ServiceAccountToken != nil:
			err = w.projectToken(ctx, p, folder, s.ServiceAccountToken)
		case s.ConfigMap != nil:
			err = w.projectConfigMap(ctx, p, folder, s.ConfigMap)
		case s.DownwardAPI != nil:
			err = w.projectFields(p, folder, s.DownwardAPI)
		default:
			err = errors.New("the local node projects tokens, config maps and fields of the pod only")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) projectToken(ctx context.Context, p *plan, folder string, s *corev1.ServiceAccountTokenProjection) error {
	file, err := inside(folder, s.Path)
	if err != nil {
		return err
	}
	t := token{file: file, audience: s.Audience, life: time.Hour}
	if s.ExpirationSeconds != nil {
		t.life = time.Duration(*s.ExpirationSeconds) * time.Second
	}
	if err := insist(ctx, func() error { return w.renewToken(ctx, p, &t) }); err != nil {
		return err
	}
	p.tokens = append(p.tokens, t)
	return nil
}

// renewToken asks for a token that is good as long as the pod is there, and puts it in its file in one step.
func (w *worker) renewToken(ctx context.Context, p *plan, t *token) error {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(t.life.Seconds())),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: w.pod.Name, UID: w.pod.UID},
	}}
	if t.audience != "" {
		request.Spec.Audiences = []string{t.audience}
	}
	asked := time.Now()
	account := cmp.Or(w.pod.Spec.ServiceAccountName, "default")
	answer, err := w.node.client.CoreV1().ServiceAccounts(w.pod.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of service account %s: %w", account, err)
	}
	t.renewAt = asked.Add(answer.Status.ExpirationTimestamp.Sub(asked) * 8 / 10)
	return w.put(p, t.file, []byte(answer.Status.Token))
}

// refresh renews tokens before they end.
func (w *worker) refresh(ctx context.Context, p *plan) {
	for len(p.tokens) > 0 {
		next := slices.MinFunc(p.tokens, func(a, b token) int { return a.renewAt.Compare(b.renewAt) }).renewAt
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		for i := range p.tokens {
			t := &p.tokens[i]
			if t.renewAt.After(next) {
				continue
			}
			if err := w.renewToken(ctx, p, t); err != nil {
				t.renewAt = time.Now().Add(10 * time.Second)
				w.node.Log.Error(err, "token not renewed", "namespace", w.pod.Namespace, "pod", w.pod.Name)
			}
		}
	}
}

func (w *worker) projectConfigMap(ctx context.Context, p *plan, folder string, s *corev1.ConfigMapProjection) error {
	var m *corev1.ConfigMap
	err := insist(ctx, func() (err error) {
		m, err = w.node.client.CoreV1().ConfigMaps(w.pod.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("reading config map %s: %w", s.Name, err)
	}
	items := s.Items
	if len(items) == 0 {
		for key := range m.Data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, ok := m.Data[item.Key]
		if !ok {
			return fmt.Errorf("config map %s has no %s", s.Name, item.Key)
		}
		if err := w.putInside(p, folder, item.Path, value); err != nil {
			return err
		}
	}
	return nil
}

// putInside writes a text to a path below a folder of the pod's.
func (w *worker) putInside(p *plan, folder, path, value string) error {
	file, err := inside(folder, path)
	if err != nil {
		return err
	}
	return w.put(p, file, []byte(value))
}

func (w *worker) projectFields(p *plan, folder string, s *corev1.DownwardAPIProjection) error {
	for _, item := range s.Items {
		value, err := w.field(item.FieldRef)
		if err != nil {
			return err
		}
		if err := w.putInside(p, folder, item.Path, value); err != nil {
			return err
		}
	}
	return nil
}

// field is the value of a field of the pod.
func (w *worker) field(ref *corev1.ObjectFieldSelector) (string, error) {
	if ref == nil {
		return "", errors.New("the local node knows fields of the pod only, not its resources")
	}
	switch ref.FieldPath {
	case "metadata.name":
		return w.pod.Name, nil
	case "metadata.namespace":
		return w.pod.Namespace, nil
	case "metadata.uid":
		return string(w.pod.UID), nil
	}
	return "", fmt.Errorf("the local node does not know field %s", ref.FieldPath)
}

// inside is the path of a file of a volume: in its folder, and in no other below.
func inside(folder, name string) (string, error) {
	if name == "" || strings.ContainsRune(name, '/') || !filepath.IsLocal(name) || name == "." {
		return "", fmt.Errorf("path %q of a file in a volume: the local node takes plain names", name)
	}
	return filepath.Join(folder, name), nil
}

// put writes a file that the pod reads, in one step.
func (w *worker) put(p *plan, file string, data []byte) error {
	fresh := filepath.Join(w.path("volumes"), ".new-"+filepath.Base(file))
	if err := os.WriteFile(fresh, data, 0o400); err != nil {
		return err
	}
	if err := w.own(p, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// own gives a file or folder to the pod's user.
func (w *worker) own(p *plan, file string) error {
	if !w.node.jailed() {
		return nil
	}
	return os.Chown(file, p.jail.ID, p.jail.ID)
}

// environment is all that the process finds in its environment: what the pod says, where its volumes are, and the API server.
func (w *worker) environment(p *plan, c *corev1.Container) error {
	values := map[string]string{}
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			var err error
			if value, err = w.field(e.ValueFrom.FieldRef); err != nil {
				return fmt.Errorf("environment variable %s: %w", e.Name, err)
			}
		}
		values[e.Name] = value
	}
	for name, usual := range map[string]string{run.EnvToken: run.DefaultToken, run.EnvAccount: run.DefaultAccount, run.EnvWork: run.DefaultWork} {
		real, err := w.real(p, cmp.Or(values[name], usual))
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", name, err)
		}
		values[name] = real
	}
	delete(values, run.EnvEngines)
	if w.node.Engines != "" {
		values[run.EnvEngines] = w.node.Engines
		if w.node.jailed() {
			values[run.EnvEngines] = run.DefaultEngines
		}
	}
	values["KUBERNETES_SERVICE_HOST"], values["KUBERNETES_SERVICE_PORT"] = w.node.server, w.node.port
	for name, value := range values {
		p.env = append(p.env, name+"="+value)
	}
	slices.Sort(p.env)
	p.work = values[run.EnvWork]
	p.jail.Work = p.work
	return nil
}

// real is where the process finds what the pod has at a path: there, in a jail; else in the folder of the volume that is mounted there.
func (w *worker) real(p *plan, name string) (string, error) {
	var best jail.Mount
	for _, m := range p.jail.Mounts {
		if (name == m.Target || strings.HasPrefix(name, m.Target+"/")) && len(m.Target) > len(best.Target) {
			best = m
		}
	}
	if best.Target == "" || path.Clean(name) != name {
		return "", fmt.Errorf("no volume is mounted at %s", name)
	}
	if w.node.jailed() {
		return name, nil
	}
	return filepath.Join(best.Source, strings.TrimPrefix(name, best.Target)), nil
}
