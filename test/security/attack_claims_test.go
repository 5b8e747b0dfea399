package security

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// disk makes a storage class whose volumes can grow the tenant's first, in a town of its own.
func disk(t *v1alpha1.Tenant) {
	t.Spec.StorageClasses = append([]v1alpha1.StorageClass{{Name: strings.TrimSuffix(t.Name, "-a") + "-disk"}}, t.Spec.StorageClasses...)
}

// volume is a volume as an administrator or provisioner makes it.
func (w *town) volume(name, class string, claim *corev1.ObjectReference) *corev1.PersistentVolume {
	w.Helper()
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: w.ID(name)}}
	v.Spec = corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, StorageClassName: class, ClaimRef: claim,
		PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/" + name}},
	}
	w.Create(v)
	return v
}

// TestClaimsJuggled reaches for volumes of others, and for more than was granted, by claims.
func TestClaimsJuggled(t *testing.T) {
	t.Parallel()
	w := newTown(t, "juggled", disk)
	site, class := w.site.TargetNamespace(), w.ID("disk")
	w.Create(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "eve.example/none", AllowVolumeExpansion: new(true)})
	t.Cleanup(func() {
		_ = w.Admin.Delete(context.WithoutCancel(t.Context()), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}})
	})

	// The victims' volume: bound to a claim that is gone, so it is Released, and its data are still on it.
	released := w.volume("released", class, &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: w.target.TargetNamespace(), Name: "gone", UID: "00000000-0000-0000-0000-000000000001"})
	pending := w.make(w.administrator(), "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: pending, namespace: SITE}, spec: {storageClassName: "+class+", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}")
	w.volume("own", class, &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: site, Name: "bound"})
	bound := w.make(w.administrator(), "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: bound, namespace: SITE}, spec: {storageClassName: "+class+", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}")
	ours := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(site, "documenti")}
	cluster.Eventually(t, stage.Patience, "the controllers have nothing left to do", func() error {
		w.Read(released)
		if phase, _, _ := nested(w.live(bound), "status", "phase"); phase != "Bound" || released.Status.Phase != corev1.VolumeReleased {
			return fmt.Errorf("claim %s, volume %s", phase, released.Status.Phase)
		}
		for _, claim := range []client.Object{pending, ours} {
			if w.live(claim).GetAnnotations()["volume.kubernetes.io/storage-provisioner"] == "" {
				return fmt.Errorf("nobody was asked to make claim %s's volume", claim.GetName())
			}
		}
		return nil
	})
	claim := func(metadata, spec string) stage.Request {
		return stage.Making(w.read("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE" + metadata +
			"}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, " + spec + "}}"))
	}
	beta := ", annotations: {volume.beta.kubernetes.io/storage-class: fast}"
	attacks := map[string]attack{
		"by name":           {"a released volume holds the victims' data", claim("", "storageClassName: "+class+", volumeName: PREFIX-released"), "volumeName would take a volume"},
		"by label":          {"so does one by its labels", claim("", "storageClassName: "+class+", selector: {matchLabels: {a: b}}"), "selector would take a volume"},
		"by old annotation": {"it goes before spec.storageClassName", claim(beta, "storageClassName: "+class), "to a class that is not your tenant's"},
		"annotation alone":  {"it stands for spec.storageClassName", claim(beta, ""), "is not your tenant's"},
		"of a node":         {"the volume fills another's disk", claim(", annotations: {volume.kubernetes.io/selected-node: control-plane}", "storageClassName: "+class), "the scheduler sets it"},
		"attributes":        {"faster than granted", claim("", "storageClassName: "+class+", volumeAttributesClassName: gold"), "volumeAttributesClassName would give"},
	}
	add(attacks, "pending, by name", "a released volume holds the victims' data", "volumeName would take a volume", w.forms(pending, "spec: {volumeName: PREFIX-released}"))
	add(attacks, "pending, of a node", "the volume fills another's disk", "the scheduler sets it", w.forms(pending, "metadata: {annotations: {volume.kubernetes.io/selected-node: n1}}"))
	add(attacks, "bound, faster", "faster than granted", "", w.forms(bound, "spec: {volumeAttributesClassName: gold}"))
	add(attacks, "bound, past quota", "the ledger's bound", "exceeded quota", w.forms(bound, "spec: {resources: {requests: {storage: 900Gi}}}"))
	add(attacks, "bound, beyond all numbers", "it overflows", "", w.forms(bound, "spec: {resources: {requests: {storage: 1e1000}}}"))
	add(attacks, "bound, less", "the quota would count less than there is", "", w.forms(bound, "spec: {resources: {requests: {storage: 1Mi}}}"))
	add(attacks, "bound, status", "the controller says what it saw", "", statusForms(w.forms(bound, "status: {phase: Lost, capacity: {storage: 1Mi}}", "status")))
	for change, patch := range map[string]string{
		"resized":  "spec: {resources: {requests: {storage: 2Gi}}}",
		"disowned": "metadata: {labels: {broletto.dev/owner: null}}",
		"marked":   "metadata: {annotations: {broletto.dev/x: eve}}",
		"owned":    "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: gone, uid: 00000000-0000-0000-0000-000000000001}]}",
		"rebound":  "spec: {volumeName: PREFIX-released}",
	} {
		add(attacks, "ours, "+change, "its data are the workspace's", "", w.forms(ours, patch))
	}
	add(attacks, "ours", "its data are the workspace's", "set deletionPolicy: Delete", deletions(ours))
	add(attacks, "a volume", "volumes are the cluster's", "", w.forms(released, "spec: {claimRef: null}"))
	add(attacks, "a volume", "volumes are the cluster's", "", deletions(released))
	targets := []client.Object{released, pending, bound, ours}
	w.suffers("administrator", w.administrator(), attacks, targets...)
	for name, a := range attacks {
		attacks[name] = attack{a.reason, a.do, ""}
	}
	for who, cfg := range w.identities() {
		w.suffers(who, cfg, attacks, targets...)
	}
	w.byTemplate(class)
	w.Rest()
}

// byTemplate has controllers make the claims: of a StatefulSet, and of a pod's ephemeral volume.
func (w *town) byTemplate(class string) {
	w.Helper()
	set := func(name, spec string) string {
		return "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: " + name + ", namespace: SITE}, spec: {serviceName: s, selector: {matchLabels: {a: " + name +
			"}}, template: {metadata: {labels: {a: " + name + "}}, spec: {POD}}, volumeClaimTemplates: [{metadata: {name: v}, spec: {storageClassName: " + class +
			", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}" + spec + "}}]}}"
	}
	w.make(w.administrator(), set("evil", ", volumeName: PREFIX-released"))
	w.make(w.administrator(), set("good", ""))
	w.make(w.administrator(), "{apiVersion: v1, kind: Pod, metadata: {name: evil, namespace: SITE}, spec: {volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {storageClassName: "+class+
		", volumeName: PREFIX-released, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}], POD}}")
	site := w.site.TargetNamespace()
	cluster.Eventually(w, stage.Patience, "the controllers tried to make the claims", func() error {
		events, refusals := &corev1.EventList{}, 0
		for _, o := range w.List(events, site) {
			if e := o.(*corev1.Event); strings.Contains(e.Message, "volumeName would take a volume") {
				refusals++
			}
		}
		if !w.Exists(&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(site, "v-good-0")}) || refusals < 2 {
			return errors.New("they did not")
		}
		return nil
	})
	for _, name := range []string{"v-evil-0", "evil-v"} {
		if w.Exists(&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(site, name)}) {
			w.Errorf("claim %s is there", name)
		}
	}
	for _, name := range []string{"evil", "good"} {
		w.Remove(&appsv1.StatefulSet{ObjectMeta: stage.In(site, name)})
	}
}
