// Package depot opens a BackupRepository: its bucket with the platform's credentials, and in it a tenant's part with the tenant's key. A key
// is in the operator's namespace and, wrapped for the escrow, in the bucket before anything is sealed with it. It never makes a key where the
// bucket has one that is not known here, and nothing of what it reads is logged or told.
package depot
