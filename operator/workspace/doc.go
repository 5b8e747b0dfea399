// Package workspace makes a comune's workspace: a namespace with guardrails, network rules, volumes and rights. It must
// never create anything before the tenant's ledger holds the workspace's share, never give a right before the guardrails stand, and
// never delete a volume that its owner did not say to delete.
package workspace
