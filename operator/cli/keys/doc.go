// Package keys is the verb by which the keys of backups come back: from the bucket, with the escrow's identity, which is read where the verb runs and
// never reaches the cluster.
package keys
