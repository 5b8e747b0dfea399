// Package runner does one run of a stack: it fetches the order, the code and the state, has an engine plan and apply, and reports. It runs
// a tenant's code, so it lives in a pod of the tenant's and never in the operator; it has no right but what the broker gives to its pod.
package runner
