// Package s3 keeps objects in a bucket, each write under a condition that the store checks. It must never write without one, nor tell a
// write whose answer was lost as refused.
package s3
