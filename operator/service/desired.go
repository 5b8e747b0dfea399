package service

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/broletto/broletto/api/v1alpha1"
)

const (
	// fieldManager owns what is written as the account of a workspace, [acting.Service], and nothing that the operator makes of a workspace itself.
	fieldManager = "broletto-service"

	// labelInstance holds, on an object in a workspace, the UID of the instance that it was made for. The workspace's account writes it, and so
	// may any editor: it says whose an object is among instances, and gives nobody anything.
	labelInstance = "broletto.dev/instance"
	// annotationMade holds a digest of what was applied last: it tells a change by hand from a change of mind.
	annotationMade = "broletto.dev/made"
	// annotationOffered holds, on a Stack, the version of the offering that it was made of.
	annotationOffered = "broletto.dev/offered-version"

	// driftHours is how often a stack is looked at.
	driftHours = 24
)

// StackName is the name of an instance's Stack.
func StackName(i *v1alpha1.ServiceInstance) string { return v1alpha1.ServiceStackPrefix + i.Name }

// stackOf is the Stack of an instance. What is changed by hand is repaired unless the instance is pinned.
func stackOf(i *v1alpha1.ServiceInstance, o offered, values Values) (*v1alpha1.Stack, error) {
	action := v1alpha1.DriftApply
	if i.Spec.Version != "" {
		action = v1alpha1.DriftReport
	}
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{
		Namespace: i.Namespace, Name: StackName(i),
		Labels:      map[string]string{v1alpha1.LabelOwner: string(i.UID)},
		Annotations: map[string]string{annotationOffered: string(o.Spec.Version)},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "ServiceInstance", Name: i.Name, UID: i.UID, Controller: new(true),
		}},
	}}
	s.Spec = v1alpha1.StackSpec{
		Workspace: i.Spec.Workspace, Engine: o.Spec.Provisions.Stack.Engine, Source: *o.Spec.Provisions.Stack.Source.DeepCopy(),
		Approval: v1alpha1.ApprovalAutomatic, DeletionPolicy: v1alpha1.StackDestroy, TimeoutMinutes: 60,
		Drift: &v1alpha1.Drift{EveryHours: driftHours, Action: action},
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text, err := json.Marshal(values[name])
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		if s.Spec.Variables == nil {
			s.Spec.Variables = map[string]apiextensionsv1.JSON{}
		}
		s.Spec.Variables[name] = apiextensionsv1.JSON{Raw: text}
	}
	return s, nil
}

// objectsOf are the objects of an instance in its workspace.
func objectsOf(i *v1alpha1.ServiceInstance, o offered, values Values) ([]*unstructured.Unstructured, error) {
	objects, err := Render(o.Spec.Provisions.Manifests, o.schema, values)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		text, err := json.Marshal(object.Object) // maps are written in sorted order
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		object.SetNamespace(i.TargetNamespace())
		object.SetLabels(with(object.GetLabels(), labelInstance, string(i.UID)))
		object.SetAnnotations(with(object.GetAnnotations(), annotationMade, hex.EncodeToString(sum[:8])))
	}
	return objects, nil
}

func with(all map[string]string, key, value string) map[string]string {
	out := maps.Clone(all)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}
