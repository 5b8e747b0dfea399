// Package bucket keeps the vault in a bucket of an S3 object store: an object for each name, whose ETag is its version. It must never write
// without a condition, nor trust a store that takes a write against its condition.
package bucket
