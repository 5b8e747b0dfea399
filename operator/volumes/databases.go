package volumes

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/move"
)

// +kubebuilder:rbac:groups="",resources=services,verbs=get

const (
	// dumpName is the name of a dump in its snapshot.
	dumpName = "dump"
	// side is the container beside a mover that speaks with a database's server.
	side = "database"

	keyUsername = "username"
	keyPassword = "password"
)

// Databases are databases of a namespace, each with why it cannot be dumped, if it cannot.
func (m *Movers) Databases(ctx context.Context, namespace string, all []v1alpha1.Database) (out []Claim, err error) {
	for i := range all {
		d := &all[i]
		c := Claim{Name: v1alpha1.DatabasePrefix + d.Name, Profile: v1alpha1.ProfileGeneral, Database: d, User: Nobody, Group: Nobody}
		selector, missing, err := m.Server(ctx, namespace, d)
		if err != nil {
			return nil, err
		}
		if c.Missing = missing; missing == "" {
			var pods corev1.PodList
			if err := m.Live.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(selector)); err != nil {
				return nil, fmt.Errorf("listing the pods of Service %s in %s: %w", d.Service, namespace, err)
			}
			if !anyRuns(pods.Items) {
				c.Missing = "no pod runs that Service " + d.Service + " selects: a database is dumped by its own server"
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func anyRuns(pods []corev1.Pod) bool {
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp.IsZero() {
			return true
		}
	}
	return false
}

// Server is what the Service of a database selects, or why there is no such server.
func (m *Movers) Server(ctx context.Context, namespace string, d *v1alpha1.Database) (selector map[string]string, missing string, err error) {
	service := &corev1.Service{}
	err = m.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: d.Service}, service)
	switch {
	case apierrors.IsNotFound(err):
		return nil, "there is no Service " + d.Service + " in " + namespace + ": make one that selects the server's pods, or have a policy of its own for workspaces with this database", nil
	case err != nil:
		return nil, "", fmt.Errorf("reading Service %s/%s: %w", namespace, d.Service, err)
	case len(service.Spec.Selector) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName:
		return nil, "Service " + d.Service + " selects no pods: only servers in the workspace are dumped", nil
	}
	return service.Spec.Selector, "", nil
}

// beside is the container that dumps a database, or brings it back: it has the database's password and nothing of the mover's. It begins before
// the mover and is ended after it, and how it ends counts for nothing: the mover says what came of it.
func beside(t Task, c Context) *corev1ac.ContainerApplyConfiguration {
	verb := map[move.Operation]string{move.Backup: "dump", move.Restore: "load"}[t.Operation]
	d := t.Database
	from := func(variable, key string) *corev1ac.EnvVarApplyConfiguration {
		return corev1ac.EnvVar().WithName(variable).WithValueFrom(corev1ac.EnvVarSource().WithSecretKeyRef(
			corev1ac.SecretKeySelector().WithName(d.CredentialsSecret).WithKey(key)))
	}
	set := func(variable, value string) *corev1ac.EnvVarApplyConfiguration {
		return corev1ac.EnvVar().WithName(variable).WithValue(value)
	}
	return corev1ac.Container().WithName(side).WithImage(c.Image).WithArgs(verb).
		WithRestartPolicy(corev1.ContainerRestartPolicyAlways).
		WithEnv(
			set("PATH", "/bin"), set("PGHOST", d.Service+"."+t.Namespace+".svc"), set("PGPORT", strconv.Itoa(int(d.Port))), set("PGDATABASE", d.Database),
			from("PGUSER", keyUsername), from("PGPASSWORD", keyPassword),
		).
		WithResources(corev1ac.ResourceRequirements().
			WithRequests(corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}).
			WithLimits(corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("256Mi"),
				corev1.ResourceEphemeralStorage: resource.MustParse("16Mi"),
			})).
		WithSecurityContext(closed()).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("dump").WithMountPath(move.DumpFolder))
}

// needs is what a mover's limits ask of the quota, for people.
func (t Task) needs() string {
	if t.Database != nil {
		return "1.5 CPU and 576Mi"
	}
	if t.Operation == move.Check {
		return "200m CPU and 128Mi"
	}
	return "1 CPU and 320Mi"
}
