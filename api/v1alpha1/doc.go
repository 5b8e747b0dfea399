// Package v1alpha1 is the API of Broletto: the kinds that platform engineers and comuni write, and the reasons
// and conditions that the operator answers with. It imports Kubernetes API packages only, so that any client can use it.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=broletto.dev
package v1alpha1
