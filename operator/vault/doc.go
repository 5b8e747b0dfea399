// Package vault is everything that the operator keeps of stacks: orders, sources, plans, states, reports, and who holds a state. All of it
// is encrypted with the tenant's key before it reaches a store. It never looks at the cluster, and nothing in it is ever logged.
package vault
