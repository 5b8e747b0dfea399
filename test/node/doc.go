// Package node is the end-to-end suite: a real cluster with two nodes on this machine, Broletto installed in it by Helm as users install
// it, and people, pods, packets and volumes that show what holds and what does not.
//
// It needs Linux and root; "make e2e" runs it. To work on a test, keep a cluster: start one with "go run -C hack/node ./cmd/node up --dir
// DIR", and set BROLETTO_BOX=DIR.
package node
