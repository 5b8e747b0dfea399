// Package move is what the operator and a mover say to each other: the order to back up, restore, verify, maintain or check, and what came of it.
// It knows neither the cluster nor the engine that keeps volumes.
package move
