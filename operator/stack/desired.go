package stack

import (
	"net/netip"
	"path"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/run"
)

// Context is what the objects of a run depend on beside stack and run.
type Context struct {
	Image     string // of the runner
	Namespace string // of the operator, whose pods are the broker
	BrokerURL string
	BrokerCA  string // PEM
	// BrokerPort is the port on which the operator's pods serve the broker.
	BrokerPort int32
	// APIServer are the addresses of the API server, as its endpoints have them.
	APIServer []Address
}

// Address is an address and a port.
type Address struct {
	IP   string
	Port int32
}

const (
	// grace is how long a runner that is told to stop may take until engine and state are in order, in seconds.
	grace = 300
	// tokenLife is how long a runner's tokens are good for, in seconds; kubelets renew them.
	tokenLife = 3600

	nobody = 65532
)

// accountName is the name of the account, the binding and the network policy of a stack, in its workspace.
func accountName(stack string) string { return "stack-" + stack }

// jobName is the name of the Job of a run.
func jobName(r *v1alpha1.StackRun) string { return "stack-" + r.Name }

// Rights are what a run stands on: the account that the stack's code acts as, what it may do, and whom its pods reach.
func Rights(s *v1alpha1.Stack, c Context) []apply.Object {
	namespace, name := s.TargetNamespace(), accountName(s.Name)
	labels := map[string]string{v1alpha1.LabelOwner: string(s.UID), v1alpha1.LabelStack: s.Name}
	return []apply.Object{
		networkingv1ac.NetworkPolicy(name, namespace).WithLabels(labels).WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{v1alpha1.LabelStack: s.Name}).
				WithMatchExpressions(metav1ac.LabelSelectorRequirement().WithKey(v1alpha1.LabelRun).WithOperator(metav1.LabelSelectorOpExists))). // nobody else may write it
			WithPolicyTypes(networkingv1.PolicyTypeEgress).
			WithEgress(egress(c)...)),
		corev1ac.ServiceAccount(name, namespace).WithLabels(labels).WithAutomountServiceAccountToken(false),
		rbacv1ac.RoleBinding(name, namespace).WithLabels(labels).
			WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(guardrail.RoleWorkspaceEdit)).
			WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithName(name).WithNamespace(namespace)),
	}
}

// egress opens the broker and the API server; where else a stack's code may go is said by its workspace.
func egress(c Context) []*networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration {
	operator := networkingv1ac.NetworkPolicyPeer().
		WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{corev1.LabelMetadataName: c.Namespace})).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{
			"app.kubernetes.io/name": "broletto", "app.kubernetes.io/component": "operator",
		}))
	rules := []*networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration{
		networkingv1ac.NetworkPolicyEgressRule().WithTo(operator).WithPorts(tcp(c.BrokerPort)),
	}
	for _, a := range c.APIServer {
		ip, err := netip.ParseAddr(a.IP)
		if err != nil {
			continue
		}
		block := networkingv1ac.IPBlock().WithCIDR(netip.PrefixFrom(ip, ip.BitLen()).String())
		rules = append(rules, networkingv1ac.NetworkPolicyEgressRule().WithTo(networkingv1ac.NetworkPolicyPeer().WithIPBlock(block)).WithPorts(tcp(a.Port)))
	}
	return rules
}

func tcp(port int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port))
}

// Job is a run's Job. Its pod is never made anew: what it did is not known, so that the next run has to look first.
func Job(s *v1alpha1.Stack, r *v1alpha1.StackRun, c Context) apply.Object {
	labels := map[string]string{v1alpha1.LabelOwner: string(s.UID), v1alpha1.LabelStack: s.Name, v1alpha1.LabelRun: string(r.UID)}
	return batchv1ac.Job(jobName(r), r.TargetNamespace()).WithLabels(labels).WithSpec(batchv1ac.JobSpec().
		WithBackoffLimit(0).
		WithPodReplacementPolicy(batchv1.Failed). // never two at a time
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(pod(s, r, c))))
}

func pod(s *v1alpha1.Stack, r *v1alpha1.StackRun, c Context) *corev1ac.PodSpecApplyConfiguration {
	return corev1ac.PodSpec().
		WithServiceAccountName(accountName(s.Name)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithRestartPolicy(corev1.RestartPolicyNever).
		WithActiveDeadlineSeconds(int64(r.Spec.TimeoutMinutes)*60+int64(run.Overtime.Seconds())).
		WithTerminationGracePeriodSeconds(grace).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(nobody).WithRunAsGroup(nobody).WithFSGroup(nobody).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container(c)).
		WithVolumes(
			projected("broker", token(run.Audience, path.Base(run.DefaultToken))),
			projected("account", token("", "token"),
				corev1ac.VolumeProjection().WithConfigMap(corev1ac.ConfigMapProjection().WithName("kube-root-ca.crt").
					WithItems(corev1ac.KeyToPath().WithKey("ca.crt").WithPath("ca.crt"))),
				corev1ac.VolumeProjection().WithDownwardAPI(corev1ac.DownwardAPIProjection().WithItems(
					corev1ac.DownwardAPIVolumeFile().WithPath("namespace").
						WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("metadata.namespace"))))),
			corev1ac.Volume().WithName("work").WithEmptyDir(corev1ac.EmptyDirVolumeSource().WithSizeLimit(resource.MustParse("1Gi"))),
			corev1ac.Volume().WithName("state").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
				WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("128Mi"))), // an engine may keep two, and a copy of each
		)
}

func container(c Context) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().WithName("runner").WithImage(c.Image).
		WithEnv(corev1ac.EnvVar().WithName(run.EnvBroker).WithValue(c.BrokerURL), corev1ac.EnvVar().WithName(run.EnvBrokerCA).WithValue(c.BrokerCA)).
		WithResources(corev1ac.ResourceRequirements().
			WithRequests(corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
			}).
			WithLimits(corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi"),
				corev1.ResourceEphemeralStorage: resource.MustParse("1Gi"),
			})).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("broker").WithMountPath(path.Dir(run.DefaultToken)).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("account").WithMountPath(run.DefaultAccount).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("work").WithMountPath(run.DefaultWork),
			corev1ac.VolumeMount().WithName("state").WithMountPath(run.DefaultState),
		)
}

func projected(name string, sources ...*corev1ac.VolumeProjectionApplyConfiguration) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithProjected(corev1ac.ProjectedVolumeSource().WithSources(sources...))
}

func token(audience, file string) *corev1ac.VolumeProjectionApplyConfiguration {
	projection := corev1ac.ServiceAccountTokenProjection().WithPath(file).WithExpirationSeconds(tokenLife)
	if audience != "" {
		projection.WithAudience(audience)
	}
	return corev1ac.VolumeProjection().WithServiceAccountToken(projection)
}

// Order is what a run has to do. The material of Look and Destroy is what was applied last.
func Order(s *v1alpha1.Stack, r, plan *v1alpha1.StackRun, m material, rules Rules) run.Order {
	o := run.Order{
		Run: r.Name, Stack: s.Namespace + "/" + s.Name, Namespace: r.TargetNamespace(),
		Operation: r.Spec.Operation, Engine: r.Spec.Engine,
		Inputs: m.inputs, Secret: m.secret, Approved: r.Spec.Plan, Forbidden: rules.Forbidden,
	}
	for _, address := range s.Spec.Protected {
		o.Protected = append(o.Protected, string(address))
	}
	slices.Sort(o.Protected)
	if r.Spec.Operation != v1alpha1.OperationDestroy {
		o.MaxDestroy = s.Spec.MaxDestroy
	}
	if plan != nil {
		o.PlanRun = plan.UID
	}
	if r.Spec.Operation == v1alpha1.OperationPlan || r.Spec.Operation == v1alpha1.OperationConverge {
		o.Source = &run.Source{StackSource: *s.Spec.Source.DeepCopy(), Credentials: m.credentials, Ranges: rules.SourceRanges}
		if revision := r.Annotations[annotationRevision]; revision != "" && o.Source.Git != nil {
			o.Source.Git.Revision = revision
		}
	}
	return o
}
