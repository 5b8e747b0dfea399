package volumes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/run"
)

// Account is the account of movers in every workspace, and their network policy's name. It has no rights.
const Account = "broletto-mover"

// Context is what the objects of a mover depend on beside its task.
type Context struct {
	Image     string // of the mover
	Namespace string // of the operator, whose pods are the broker
	BrokerURL string
	BrokerCA  string // PEM
	// BrokerPort is the port on which the operator's pods serve the broker.
	BrokerPort int32
}

// Task is one volume, or one database, that is to be moved.
type Task struct {
	Operation move.Operation
	// For is the Backup or Restore, in the tenant's home namespace, or the BackupRepository whose volumes are maintained or verified.
	For     types.NamespacedName
	UID     types.UID
	Attempt int32
	// Namespace is the workspace's, and Workspace its UID; for a BackupRepository it is the operator's, and Workspace is the repository's UID.
	Namespace string
	Workspace types.UID
	// Claim is the volume's; of what is done for a BackupRepository it is [UpkeepClaim], and of a check its name.
	Claim string
	// Database is what is dumped or brought back instead of a volume. Its name is [v1alpha1.DatabasePrefix] and its own, in place of the claim's.
	Database *v1alpha1.Database
	// Copied tells that a copy of the volume is read.
	Copied  bool
	Profile v1alpha1.VolumeProfile
	// Node is where the volume is in use and cannot be used elsewhere; empty: anywhere.
	Node string
	// Holder is the pod that lets no other use the volume.
	Holder string
	// User, Group and FSGroup are as whom the mover reads and writes; 0 of FSGroup: none.
	User, Group, FSGroup int64
	// StorePort is the port of the store.
	StorePort int32
}

const (
	// longest is how long a mover may take, in seconds; it is told to end before its pod is.
	longest   = 12 * 3600
	overtime  = 300
	grace     = 60
	tokenLife = 3600
	// keptFor is how long a Job is kept that nobody takes away, in seconds.
	keptFor = 24 * 3600

	cacheBytes = 512 << 20

	// annotationTask names the object that a mover works for, and annotationClaim the volume: labels have no room for the names.
	annotationTask     = "broletto.dev/mover"
	annotationClaim    = "broletto.dev/claim"
	annotationProfile  = v1alpha1.AnnotationProfile
	annotationProgress = "broletto.dev/progress"
)

// JobName is the name of the Job of a task. Policies know pods of movers by it.
func (t Task) JobName() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%s/%d", t.Operation, t.UID, t.Claim, t.Attempt))
	return "move-" + hex.EncodeToString(sum[:8])
}

// For is the request for the Backup or Restore that a mover's Job or pod works for, if it is of that operation. Only the operator writes what
// says so; the mapping of namespaces to tenants is injective.
func For(o client.Object, operation move.Operation) []reconcile.Request {
	name, is := strings.CutPrefix(o.GetAnnotations()[annotationTask], string(operation)+"/")
	tenant, _, _ := strings.Cut(o.GetNamespace(), "--")
	if !is || name == "" || o.GetLabels()[v1alpha1.LabelRun] == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: tenant, Name: name}}}
}

// ForRepository is the request for the BackupRepository whose volumes a mover looks after.
func ForRepository(o client.Object) []reconcile.Request {
	operation, name, _ := strings.Cut(o.GetAnnotations()[annotationTask], "/")
	if name == "" || !upkeep(move.Operation(operation)) || o.GetLabels()[v1alpha1.LabelRun] == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: name}}}
}

// UpkeepClaim names the volumes of a tenant in a generation, where a claim's name is asked for.
func UpkeepClaim(u v1alpha1.VolumeUpkeep) string { return fmt.Sprintf("%s.%d", u.Tenant, u.Generation) }

// mounts tells whether a mover has a volume: one that is at a database or at a whole repository has none, nor one that asks a question.
func (t Task) mounts() bool {
	return t.Database == nil && !upkeep(t.Operation) && t.Operation != move.Check
}

// upkeep tells whether an operation is of a whole repository, and needs no volume.
func upkeep(o move.Operation) bool { return o == move.Maintain || o == move.Verify }

// Rights are what movers of a workspace stand on: their account, which has none, and whom they reach beside the names' service: the broker and
// the store, wherever that is. Tenants reach neither them nor their label.
func Rights(t Task, c Context) []apply.Object {
	labels := map[string]string{v1alpha1.LabelOwner: string(t.Workspace)}
	operator := networkingv1ac.NetworkPolicyPeer().
		WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{corev1.LabelMetadataName: c.Namespace})).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{
			"app.kubernetes.io/name": "broletto", "app.kubernetes.io/component": "operator",
		}))
	requires := func(key string, operator metav1.LabelSelectorOperator) *metav1ac.LabelSelectorRequirementApplyConfiguration {
		return metav1ac.LabelSelectorRequirement().WithKey(key).WithOperator(operator)
	}
	return []apply.Object{
		networkingv1ac.NetworkPolicy(Account, t.Namespace).WithLabels(labels).WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchExpressions( // nobody else may write the one, and every run of a stack has the other
				requires(v1alpha1.LabelRun, metav1.LabelSelectorOpExists), requires(v1alpha1.LabelStack, metav1.LabelSelectorOpDoesNotExist))).
			WithPolicyTypes(networkingv1.PolicyTypeEgress).
			WithEgress(
				networkingv1ac.NetworkPolicyEgressRule().WithTo(operator).WithPorts(tcp(c.BrokerPort)),
				networkingv1ac.NetworkPolicyEgressRule().WithPorts(tcp(t.StorePort)),
			)),
		corev1ac.ServiceAccount(Account, t.Namespace).WithLabels(labels).WithAutomountServiceAccountToken(false),
	}
}

func tcp(port int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port))
}

// Job is a mover's Job. Its pod is never made anew: the next attempt is a Job of its own.
func Job(t Task, c Context) apply.Object {
	labels := map[string]string{v1alpha1.LabelRun: string(t.UID)}
	notes := map[string]string{
		annotationTask: string(t.Operation) + "/" + t.For.Name, annotationClaim: t.Claim, annotationProfile: string(t.Profile),
	}
	return batchv1ac.Job(t.JobName(), t.Namespace).WithLabels(labels).WithAnnotations(notes).WithSpec(batchv1ac.JobSpec().
		WithBackoffLimit(0).
		WithTTLSecondsAfterFinished(keptFor).     // whoever wanted it may have gone
		WithPodReplacementPolicy(batchv1.Failed). // never two at a time
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithAnnotations(notes).WithSpec(pod(t, c))))
}

func pod(t Task, c Context) *corev1ac.PodSpecApplyConfiguration {
	claim := t.Claim
	if t.Copied {
		claim, t.Node = t.copyName(), ""
	}
	security := corev1ac.PodSecurityContext().
		WithRunAsNonRoot(t.User != 0).WithRunAsUser(t.User).WithRunAsGroup(t.Group).
		WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
	if t.FSGroup != 0 {
		security.WithFSGroup(t.FSGroup).WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch)
	}
	p := corev1ac.PodSpec().
		WithServiceAccountName(Account).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithRestartPolicy(corev1.RestartPolicyNever).
		WithActiveDeadlineSeconds(longest+overtime).
		WithTerminationGracePeriodSeconds(grace).
		WithSecurityContext(security).
		WithContainers(container(t, c)).
		WithVolumes(
			corev1ac.Volume().WithName("token").WithProjected(corev1ac.ProjectedVolumeSource().WithSources(corev1ac.VolumeProjection().
				WithServiceAccountToken(corev1ac.ServiceAccountTokenProjection().WithAudience(run.Audience).WithPath(path.Base(move.TokenFile)).WithExpirationSeconds(tokenLife)))),
			corev1ac.Volume().WithName("config").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
				WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("16Mi"))),
			corev1ac.Volume().WithName("cache").WithEmptyDir(corev1ac.EmptyDirVolumeSource().WithSizeLimit(resource.MustParse("1Gi"))),
		)
	if t.Database != nil {
		p.WithInitContainers(beside(t, c)).WithVolumes(corev1ac.Volume().WithName("dump").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
			WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("1Mi"))))
	}
	if t.mounts() {
		p.WithVolumes(corev1ac.Volume().WithName("data").WithPersistentVolumeClaim(corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(claim)))
	}
	if t.Node != "" {
		p.WithAffinity(corev1ac.Affinity().WithNodeAffinity(corev1ac.NodeAffinity().WithRequiredDuringSchedulingIgnoredDuringExecution(
			corev1ac.NodeSelector().WithNodeSelectorTerms(corev1ac.NodeSelectorTerm().WithMatchFields(
				corev1ac.NodeSelectorRequirement().WithKey(metav1.ObjectNameField).WithOperator(corev1.NodeSelectorOpIn).WithValues(t.Node))))))
	}
	return p
}

func container(t Task, c Context) *corev1ac.ContainerApplyConfiguration {
	out := corev1ac.Container().WithName("mover").WithImage(c.Image).WithArgs("-report="+corev1.TerminationMessagePathDefault).
		WithEnv(corev1ac.EnvVar().WithName(run.EnvBroker).WithValue(c.BrokerURL), corev1ac.EnvVar().WithName(run.EnvBrokerCA).WithValue(c.BrokerCA)).
		WithResources(room(t.Operation)).
		WithSecurityContext(closed()).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("token").WithMountPath(path.Dir(move.TokenFile)).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("config").WithMountPath(move.ConfigFolder),
			corev1ac.VolumeMount().WithName("cache").WithMountPath(move.CacheFolder),
		)
	if t.Database != nil {
		out.WithVolumeMounts(corev1ac.VolumeMount().WithName("dump").WithMountPath(move.DumpFolder))
	}
	if t.mounts() {
		out.WithVolumeMounts(corev1ac.VolumeMount().WithName("data").WithMountPath(move.DataFolder).WithReadOnly(t.Operation == move.Backup))
	}
	return out
}

// closed is what every container of a mover's pod runs in.
func closed() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().
		WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}

// room is what a mover takes. One that asks a question holds nothing, and runs beside what was restored.
func room(o move.Operation) *corev1ac.ResourceRequirementsApplyConfiguration {
	cpu, memory, mostCPU, mostMemory := "100m", "128Mi", "1", "320Mi"
	if o == move.Check {
		cpu, memory, mostCPU, mostMemory = "50m", "64Mi", "200m", "128Mi"
	}
	return corev1ac.ResourceRequirements().
		WithRequests(corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}).
		WithLimits(corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(mostCPU), corev1.ResourceMemory: resource.MustParse(mostMemory),
			corev1.ResourceEphemeralStorage: resource.MustParse("1Gi"),
		})
}
