// Package consortium looks after the agreements: whether their budgets name members, and that none goes while it has
// tenants. It makes nothing; tenants and workspaces read the consortium themselves.
package consortium
