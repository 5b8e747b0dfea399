// Package bucket keeps archives in a bucket of an S3 object store. Where the bucket keeps versions, deleting leaves a delete marker and no
// version is ever removed: so its credentials need no right to do that, and whoever steals them cannot either. The bucket's lifecycle takes
// versions that are no longer current when their lock is over; until then they count in its size.
package bucket
