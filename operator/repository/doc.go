// Package repository looks after BackupRepositories: it tries whether the store refuses what it must refuse. It sweeps what was removed from it, and never reads a backup.
package repository
