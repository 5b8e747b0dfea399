module github.com/broletto/broletto/test/chart

go 1.26.0

require (
	github.com/broletto/broletto v0.0.0
	github.com/broletto/broletto/hack/chart v0.0.0
	github.com/broletto/broletto/hack/kube v0.0.0
	github.com/google/go-cmp v0.7.0
	helm.sh/helm/v4 v4.3.1
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/client-go v0.37.2
	sigs.k8s.io/controller-runtime v0.25.2
	sigs.k8s.io/kustomize/api v0.21.3
	sigs.k8s.io/kustomize/kyaml v0.21.3
	sigs.k8s.io/yaml v1.6.0
)

replace (
	github.com/broletto/broletto => ../..
	github.com/broletto/broletto/hack/chart => ../../hack/chart
	github.com/broletto/broletto/hack/kube => ../../hack/kube
)
