// Package mover brings volumes and dumps into a store of backups and back, with kopia for an engine. It does one order and ends. It runs
// beside a tenant's data and never in the operator, does not follow a link out of the folder that it was given, and never says that
// something was kept, restored or verified that was not.
package mover
