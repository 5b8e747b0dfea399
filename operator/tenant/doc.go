// Package tenant makes a comune's home: its namespace, guardrails and rights, and keeps the ledger that shares its quota out
// among its workspaces. It must never give anybody a right before the guardrails stand, never touch a namespace
// that is not ours, and never let allocations exceed the quota.
package tenant
