// Package doctor looks whether a cluster is fit to host comuni, tries whether its network enforces network policies, and writes down what
// it saw of the network. It must leave nothing else behind, and must never call a network enforcing that it did not see cut something.
package doctor
