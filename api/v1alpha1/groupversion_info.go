package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "broletto.dev", Version: "v1alpha1"}

	// SchemeGroupVersion is GroupVersion under the name that generated apply configurations use.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder collects the kinds of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(func(scheme *runtime.Scheme) error {
		scheme.AddKnownTypes(GroupVersion,
			&Consortium{}, &ConsortiumList{},
			&Tenant{}, &TenantList{},
			&Workspace{}, &WorkspaceList{},
			&Stack{}, &StackList{},
			&StackRun{}, &StackRunList{},
			&ServiceOffering{}, &ServiceOfferingList{},
			&ServiceInstance{}, &ServiceInstanceList{},
			&BackupRepository{}, &BackupRepositoryList{},
			&BackupPolicy{}, &BackupPolicyList{},
			&Backup{}, &BackupList{},
			&Restore{}, &RestoreList{},
		)
		metav1.AddToGroupVersion(scheme, GroupVersion)
		return nil
	})

	// AddToScheme adds the kinds of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)
