// Package repository looks after BackupRepositories: it tries whether the store refuses what it must refuse. It never reads or writes a backup.
package repository
