// Package run is what the operator's broker and a runner say to each other: the order of one run, what it reports, and how a plan is
// digested, summed up and refused. It knows neither the cluster nor any engine.
package run
