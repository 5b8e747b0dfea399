// The version of the Gateway API whose resource kinds test/security installs, kept out of the operator's own modules.
module github.com/broletto/broletto/test/gateway

go 1.26.0

// No program: what keeps the requirement, and its checksum in go.sum, through `go mod tidy`.
tool sigs.k8s.io/gateway-api/pkg/consts

require sigs.k8s.io/gateway-api v1.6.3 // indirect
