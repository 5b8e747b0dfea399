package doctor

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/operator/probe"
)

const (
	fieldManager = "broletto-doctor"
	// labelManagedBy marks the namespaces of trials, so that those of killed ones are found.
	labelManagedBy = "app.kubernetes.io/managed-by"
	// labelRole holds the role of a pod.
	labelRole = "role"
	// untilOpen and untilClosed name the containers of clients by what they wait for.
	untilOpen, untilClosed = "open", "closed"
	// program is where the image has it.
	program = "/broletto"

	// inRow is how many attempts in a row have to fail until a path is called cut.
	inRow = 3
	// deadline ends pods that nobody looks after any more.
	deadline = 15 * time.Minute
)

// pace is how long a trial waits for what.
type pace struct {
	starting time.Duration // until servers run: nodes may have to pull the image
	opening  time.Duration // until the servers answer a client
	closing  time.Duration // while what is forbidden to a client passes, from its own start
	settling time.Duration // after the policies were made, until what still passes is called a leak
	often    time.Duration // between two looks at the pods
}

var usual = pace{starting: 3 * time.Minute, opening: 30 * time.Second, closing: 75 * time.Second, settling: 20 * time.Second, often: 500 * time.Millisecond}

// trialNamespace is where one trial takes place.
func trialNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "broletto-doctor-",
		Labels: map[string]string{
			labelManagedBy:                       fieldManager,
			"pod-security.kubernetes.io/enforce": "restricted",
		},
	}}
}

// serverPod answers on a node.
func serverPod(namespace, node, name, image string) *corev1.Pod {
	pod := podOn(namespace, node, name, server)
	pod.Spec.Containers = []corev1.Container{container("serve", image, "serve", "--port", strconv.Itoa(probe.Port), "--name", name)}
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	return pod
}

// clientPod tries targets from a node. What policies forbid it has to reach first, as long as there are none: then its init container ends,
// and policies may be made. What they allow is tried when they are in force.
func clientPod(namespace, node, name, image string, r role, p pace, targets []string) *corev1.Pod {
	pod := podOn(namespace, node, name, r)
	open := container(untilOpen, image, try(untilOpen, p.opening, 1, targets)...)
	if r == allowed {
		pod.Spec.Containers = []corev1.Container{open}
		return pod
	}
	pod.Spec.InitContainers = []corev1.Container{open}
	pod.Spec.Containers = []corev1.Container{container(untilClosed, image, try(untilClosed, p.closing, inRow, targets)...)}
	return pod
}

func try(until string, within time.Duration, times int, targets []string) []string {
	return append([]string{
		"try", "--report", corev1.TerminationMessagePathDefault, "--until", until, "--within", within.String(), "--times", strconv.Itoa(times),
	}, targets...)
}

// podOn is a pod on a node, whatever the scheduler would say: also on one that is cordoned or tainted, whose pods are tenants' pods too.
func podOn(namespace, node, name string, r role) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{labelRole: string(r), labelManagedBy: fieldManager}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			RestartPolicy:                 corev1.RestartPolicyNever,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			ActiveDeadlineSeconds:         new(int64(deadline.Seconds())),
			TerminationGracePeriodSeconds: new(int64(1)),
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), RunAsGroup: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
}

func container(name, image string, arguments ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: append([]string{program, "probe"}, arguments...),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// policiesOf deny everything in the namespace of a trial but what the roles say.
func policiesOf(namespace string) []*networkingv1.NetworkPolicy {
	named := func(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	}
	peers := func(roles ...role) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{PodSelector: ofRoles(roles...)}}
	}
	return []*networkingv1.NetworkPolicy{
		named("deny", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		}),
		named("in", networkingv1.NetworkPolicySpec{
			PodSelector: *ofRoles(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers(allowed, mute)}},
		}),
		named("out", networkingv1.NetworkPolicySpec{
			PodSelector: *ofRoles(allowed, stranger), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{To: peers(server)}},
		}),
	}
}

func ofRoles(roles ...role) *metav1.LabelSelector {
	in := metav1.LabelSelectorRequirement{Key: labelRole, Operator: metav1.LabelSelectorOpIn}
	for _, r := range roles {
		in.Values = append(in.Values, string(r))
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in}}
}

// path is one target of a client.
type path struct{ target, protocol string }

// pathsTo are all ways to a server: by each of its addresses, by TCP and UDP.
func pathsTo(pod *corev1.Pod) (out []path) {
	for _, ip := range pod.Status.PodIPs {
		family := "IPv4"
		if strings.Contains(ip.IP, ":") {
			family = "IPv6"
		}
		for _, protocol := range []string{"tcp", "udp"} {
			out = append(out, path{
				fmt.Sprintf("%s://%s", protocol, net.JoinHostPort(ip.IP, strconv.Itoa(probe.Port))), strings.ToUpper(protocol) + " over " + family,
			})
		}
	}
	return out
}
