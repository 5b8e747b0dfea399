// Package volumes has the data of a workspace's volumes moved, and dumps of its databases: into a backup repository and back, by a mover in a Job
// beside the volume or the database.
package volumes
