// Package repository looks after BackupRepositories: it tries whether the store refuses what it must refuse, sweeps what was removed from it, and
// makes Backups of those that a cluster lost. It reads manifests, and never what they hold.
package repository
