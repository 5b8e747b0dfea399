// Package archive is what a bucket holds of a tenant: pages of the objects of its workspaces, and a chain of signed manifests that say which
// pages a backup has. Everything is encrypted with the tenant's key before it reaches a store, and everything read is taken for hostile. It
// never looks at a cluster, and nothing in it is ever logged.
//
// Names, each written once:
//
//	<tenant>/keys/<id>.age                        the tenant's key, encrypted to the escrow and to the tenant's own recipients
//	<tenant>/manifests/<workspace>/<10 digits>    a backup: sealed, signed, and naming its predecessor by hash
//	<tenant>/removed/<workspace>/<10 digits>      says, signed, that the manifest of that number was removed on purpose
//	<tenant>/objects/<keyed hash>[.<8 digits>]    a page: objects of one resource, JSON lines, zstd, sealed
//	<tenant>/generations/<10 digits>              says, signed, that the generation of volumes before it is not built on any more
//	<tenant>/drills/<workspace>/<UID>[.<digit>]   what a rehearsal came to: sealed and signed
//	<tenant>/clock/<random>                       tells the store's time, and is gone a moment later
package archive
