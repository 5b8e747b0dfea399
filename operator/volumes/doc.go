// Package volumes has the data of a workspace's volumes moved: into a backup repository and back, by a mover in a Job beside the volume.
package volumes
