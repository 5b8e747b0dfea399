module github.com/broletto/broletto/hack/node

go 1.26.0

require (
	github.com/broletto/broletto/hack/image v0.0.0
	github.com/broletto/broletto/hack/kube v0.0.0
	github.com/google/go-cmp v0.7.0
	github.com/vishvananda/netlink v1.3.1
	github.com/vishvananda/netns v0.0.5
	golang.org/x/sys v0.50.0
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/client-go v0.37.2
)

replace (
	github.com/broletto/broletto/hack/image => ../image
	github.com/broletto/broletto/hack/kube => ../kube
)
