package move

import "time"

// What a mover asks of the broker, with the token of its pod as a runner does.
const (
	// PathOrder is what to do: POST answers an [Order]; asking again is harmless.
	PathOrder = "/v1/move/order"
	// PathProgress tells how far it is: POST takes a [Progress]. One every [TellEvery] at most.
	PathProgress = "/v1/move/progress"
)

const (
	// TellEvery is the time between two words of progress.
	TellEvery = 10 * time.Second
	// MaxProgress bounds a progress, in bytes.
	MaxProgress = 4 << 10
)

// Folders in a mover's pod.
const (
	DataFolder   = "/data"         // the volume
	ConfigFolder = "/run/broletto" // in memory, for what holds secrets
	CacheFolder  = "/cache"        // on disk, for what the store has sent
	TokenFile    = "/var/run/secrets/broletto/token"
	DumpFolder   = "/run/dump" // in memory, for the socket between a mover and the programs of a database
	DumpSocket   = DumpFolder + "/socket"
)
