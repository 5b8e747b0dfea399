module github.com/broletto/broletto/hack/node

go 1.26.0

require github.com/broletto/broletto/hack/kube v0.0.0

replace github.com/broletto/broletto/hack/kube => ../kube
