// Package keys are the verbs that open a bucket with the escrow's identity, which is read where they run and never reaches the cluster: one brings
// the keys of backups back, the other verifies the records of drills.
package keys
