// Package backup has workspaces backed up: Backups, at once, and BackupPolicies, on a schedule. A Backup is Ready only when all of it was read
// back from the store. It never deletes the last one that was.
package backup
