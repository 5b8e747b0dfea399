// Package restore brings backups back, into the workspace that they were made of or a new one of the same tenant. Everything is written as the
// workspace's account and only as far as whoever asked may write it. It believes nothing that a backup holds.
package restore
