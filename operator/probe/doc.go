// Package probe finds out which paths a cluster's network leaves open: a server that says who answered, and a client that tries many
// targets at once. Both are verbs of the operator's own image, so nothing else has to be pulled. It knows nothing of Kubernetes.
package probe
