// Package jail locks a process of a pod up on a machine that is no node. It must import the standard library alone: each process starts as
// this program, and becomes the one it is for before any package begins that comes later or imports more.
package jail

// Jail is what a process gets to see.
type Jail struct {
	Root   string  // folder to mount its root on
	ID     int     // user and group
	Mounts []Mount // beside what every jail has
	Work   string
	Runner string // path inside
}

// Mount shows a file or folder of this machine in a jail, or memory.
type Mount struct {
	Source, Target string
	Write          bool
	Memory         int64 // how many bytes of it there are instead; 0: none
}
