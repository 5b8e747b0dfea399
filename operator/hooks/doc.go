// Package hooks runs commands in the pods of a workspace, as the account of the workspace that backs it up: a tenant's command does what the
// tenant's administrators may do there, and never what the operator may.
package hooks
