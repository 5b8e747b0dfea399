package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/node/story"
)

const (
	// probeImage is the operator's own, by a name that also a tenant with registries may use.
	probeImage = "registry.ticino.example/probe:1"
	probePort  = 8080
	// open is a namespace of the platform that no network policy closes: what is not reached from there proves nothing.
	open = "piazza"
	kube = "kube-system"

	sportello  = "lugano--sportello"
	identita   = "lugano--identita"
	bellinzona = "bellinzona--sportello"
	sito       = "chiasso--sito"
)

// Every namespace has a client on the first node, and servers near it, on the same node, and far from it, on the other.
const (
	near   = "near"
	far    = "far"
	asking = "client"
)

// spot is a pod that answers and asks.
type spot struct{ namespace, name string }

func (s spot) key() client.ObjectKey { return client.ObjectKey{Namespace: s.namespace, Name: s.name} }

// host is where a spot stands.
func (s spot) host() string {
	if s.name == far {
		return nodes[1].name
	}
	return nodes[0].name
}

func clientOf(namespace string) spot { return spot{namespace, asking} }

// administrator is who works in a namespace: its tenant's administrator, or the platform engineer.
func administrator(namespace string) (user, group string) {
	if tenant, _, isWorkspace := strings.Cut(namespace, "--"); isWorkspace {
		return "administrator", tenant + ":ict"
	}
	return "platform-engineer", masters
}

// cities hosts the five cities, if they are not hosted yet, with all as the samples say.
func cities(t *testing.T) {
	t.Helper()
	if !t.Run("Cities", func(t *testing.T) { story.Play(t, the, repository, "testdata/stories/01-onboard") }) {
		t.FailNow()
	}
}

// settle runs spots, each as the administrator of its namespace, with a Service of its name, and returns their addresses.
func settle(t *testing.T, all ...spot) map[spot]addresses {
	t.Helper()
	admin := the.admin(t)
	err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: open}})
	if client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		user, group := administrator(s.namespace)
		_, c := the.as(t, user, group)
		for _, o := range []client.Object{s.pod(), s.service()} {
			if err := c.Create(t.Context(), o); client.IgnoreAlreadyExists(err) != nil {
				t.Fatalf("%s: %v", s.key(), err)
			}
		}
	}
	out := map[spot]addresses{}
	for _, s := range all {
		out[s] = s.addresses(t, admin)
	}
	return out
}

func (s spot) pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, Labels: map[string]string{"spot": s.name}},
		Spec: corev1.PodSpec{
			NodeSelector:                  map[string]string{corev1.LabelHostname: s.host()},
			TerminationGracePeriodSeconds: new(int64(1)),
			AutomountServiceAccountToken:  new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: probeImage, Args: []string{"probe", "serve", fmt.Sprintf("--port=%d", probePort), "--name=" + s.key().String()},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}

func (s spot) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"spot": s.name}, Ports: []corev1.ServicePort{
			{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: probePort, TargetPort: intstr.FromInt32(probePort)},
			{Name: "udp", Protocol: corev1.ProtocolUDP, Port: probePort, TargetPort: intstr.FromInt32(probePort)},
		}},
	}
}

// addresses are where a spot is reached.
type addresses struct{ pod, service string }

func (s spot) addresses(t *testing.T, c client.Client) (out addresses) {
	t.Helper()
	cluster.Eventually(t, 2*time.Minute, "pod "+s.key().String()+" runs", func() error {
		var pod corev1.Pod
		var service corev1.Service
		if err := c.Get(t.Context(), s.key(), &pod); err != nil {
			return err
		}
		if err := c.Get(t.Context(), s.key(), &service); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			return fmt.Errorf("it does not:\n%s", pods.Explain(t.Context(), c, s.namespace))
		}
		if pod.Spec.NodeName != s.host() {
			t.Fatalf("pod %s runs on %s, not on %s", s.key(), pod.Spec.NodeName, s.host())
		}
		out = addresses{pod: pod.Status.PodIP, service: service.Spec.ClusterIP}
		return nil
	})
	return out
}

// try asks a spot what it reaches: once, or until all of it is as wanted.
func (s spot) try(ctx context.Context, arguments ...string) ([]pods.Result, error) {
	cfg, err := the.Config("platform-engineer", masters)
	if err != nil {
		return nil, err
	}
	return pods.Try(ctx, cfg, s.key(), arguments...)
}

// reaches wants that a spot reaches all targets, or none, at most some seconds after what was changed.
func (s spot) reaches(t *testing.T, wanted bool, targets ...string) {
	t.Helper()
	until := map[bool]string{true: "--until=open", false: "--until=closed"}[wanted]
	results, err := s.try(t.Context(), append([]string{until, "--within=20s", "--timeout=1s"}, targets...)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Reached() != wanted {
			t.Errorf("%s reaches %s: %t (%s by %q, %s); want %t", s.key(), r.Target, r.Reached(), r.Outcome, r.AnsweredBy, r.Error, wanted)
		}
	}
}

// targets of a spot, by pod and by Service, TCP and UDP.
func (a addresses) targets() []string {
	var out []string
	for _, ip := range []string{a.pod, a.service} {
		for _, protocol := range []string{"tcp", "udp"} {
			out = append(out, fmt.Sprintf("%s://%s:%d", protocol, ip, probePort))
		}
	}
	return out
}

// targets of several spots.
func targets(at map[spot]addresses, spots ...spot) (out []string) {
	for _, s := range spots {
		out = append(out, at[s].targets()...)
	}
	return slices.Clip(out)
}
