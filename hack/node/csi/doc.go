// Package csi is a CSI driver for tests on one machine whose nodes share a file system.
//
// A volume is a folder, a snapshot a full copy of one. What that leaves out, so that no test proves what is not there:
//   - A folder has no limit: a volume holds what the disk holds, whatever size was asked for. Sizes are kept and told, not enforced.
//   - A snapshot is copied file by file while pods may write: it is not one moment. Files are copied as they are, with owners, modes, times and
//     symbolic links; hard links become files of their own, sockets, pipes and devices are left out, extended attributes too.
//   - Nothing is encrypted, and no block device is to be had.
//   - Every node reaches every volume, so nothing is attached and the access modes are Kubernetes' to hold.
//
// It must never run on a machine whose data matters: it mounts and deletes as root what its callers name.
package csi

// Name is the driver's, as storage classes say it.
const Name = "csi.broletto.test"
