module github.com/broletto/broletto/hack/kube

go 1.26
