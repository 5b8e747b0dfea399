// Package stack is the verbs by which people work with stacks: plan, approve, logs, unlock. Each says something to the API server with the
// rights of who calls it, and nothing to the operator itself.
package stack
