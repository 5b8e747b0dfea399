// Package service keeps the catalogue of services: offerings, which the joint entity writes, and instances, which comuni ask for. It must
// never provision before the award, never write into a workspace but as that workspace's own account, and never touch an object there
// that it did not make for the instance.
package service
