package move

import "time"

// Class says whose turn it is after a failure.
type Class string

// The classes of failures.
const (
	// FailureOrder surfaces when the order cannot be done as it stands, as when its snapshot does not exist.
	FailureOrder Class = "Order"
	// FailureSource surfaces when something could not be read of what is backed up. The snapshot has the rest.
	FailureSource Class = "Source"
	// FailureTarget surfaces when something could not be written of what is restored.
	FailureTarget Class = "Target"
	// FailureSpace surfaces when a disk is full, the target's or the cache's.
	FailureSpace Class = "Space"
	// FailureStore surfaces when the store cannot be reached, or answers what it should not.
	FailureStore Class = "Store"
	// FailureDenied surfaces when the store refuses the credentials, or the repository the password.
	FailureDenied Class = "Denied"
	// FailureDamaged surfaces when the store has lost or changed something: it takes no more backups, and what is whole can be restored.
	FailureDamaged Class = "Damaged"
	// FailureStalled surfaces when nothing moved for the order's stallSeconds, or no server of a database answered.
	FailureStalled Class = "Stalled"
	// FailureDeadline surfaces when the order's deadline has passed.
	FailureDeadline Class = "Deadline"
	// FailureAnswer surfaces when what was asked is not answered as it should be.
	FailureAnswer Class = "Answer"
	// FailureInterrupted surfaces when the mover was told to end, or what it works with broke off. A backup goes on from there.
	FailureInterrupted Class = "Interrupted"
)

// Failure is why an operation did not do all that it was to do.
type Failure struct {
	Class   Class  `json:"class"`
	Message string `json:"message"`
}

// Problem is one entry that could not be backed up, restored or verified.
type Problem struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Bounds of what a report holds.
const (
	MaxProblems = 20
	MaxMessage  = 300 // bytes
)

// Report is what came of an order. Without a failure, all of it was done.
type Report struct {
	Operation Operation `json:"operation"`
	// Snapshot is the name of the snapshot that was made or restored, and Root the hash of all that is in it.
	Snapshot string `json:"snapshot,omitempty"`
	Root     string `json:"root,omitempty"`
	// Bytes, Files and Folders are of what was backed up, restored or verified.
	Bytes   int64 `json:"bytes"`
	Files   int64 `json:"files"`
	Folders int64 `json:"folders"`
	// Unchanged are files of a backup that are as they were in the one before, and of a restore those that were kept.
	Unchanged int64 `json:"unchanged,omitempty"`
	// Special are sockets, devices and pipes, which have no content to be backed up.
	Special int64 `json:"special,omitempty"`
	// Vanished are files that were deleted while the backup ran.
	Vanished int64 `json:"vanished,omitempty"`
	// Unowned are entries whose owner could not be restored, as the mover may not.
	Unowned int64 `json:"unowned,omitempty"`
	// Failed are entries with problems, of which the first are told.
	Failed    int64     `json:"failed,omitempty"`
	Problems  []Problem `json:"problems,omitempty"`
	Forgotten int64     `json:"forgotten,omitempty"`
	// Locked are objects of the store whose lock was prolonged.
	Locked   int64    `json:"locked,omitempty"`
	Requests Requests `json:"requests"`
	Seconds  float64  `json:"seconds"`
	// StoreTime is the store's clock at the beginning; zero where the store has none.
	StoreTime time.Time `json:"storeTime,omitzero"`
	Failure   *Failure  `json:"failure,omitempty"`
}

// Requests are what the store was asked for, each attempt counted.
type Requests struct {
	Get    int64 `json:"get"`
	Put    int64 `json:"put"`
	List   int64 `json:"list"`
	Head   int64 `json:"head"`
	Delete int64 `json:"delete"`
	// Received and Sent are bytes of objects.
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
	// Packs is how many packs were read, and MaxGets how often the one that was read most often.
	Packs   int64 `json:"packs"`
	MaxGets int64 `json:"maxGets"`
}

// Sum is all requests.
func (r Requests) Sum() int64 { return r.Get + r.Put + r.List + r.Head + r.Delete }

// Progress is how far an operation is.
type Progress struct {
	Bytes int64 `json:"bytes"`
	Files int64 `json:"files"`
	// TotalBytes is an estimate. 0: unknown.
	TotalBytes int64 `json:"totalBytes,omitempty"`
	// BytesPerSecond is the rate since the line before.
	BytesPerSecond int64 `json:"bytesPerSecond"`
	// SecondsLeft is an estimate. 0: unknown.
	SecondsLeft int64 `json:"secondsLeft,omitempty"`
}
