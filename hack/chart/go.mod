module github.com/broletto/broletto/hack/chart

go 1.26
