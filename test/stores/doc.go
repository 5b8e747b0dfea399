// Package stores starts real stores for tests, on loopback alone: a gateway that speaks S3 over a folder, and PostgreSQL.
package stores
