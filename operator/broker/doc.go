// Package broker is what runners talk to: it hands out the order of a run and its sources, plans and states, and takes what comes of it.
// It answers the pod of a run's Job and nobody else, never runs code of a stack, and never logs what is in a body.
package broker
