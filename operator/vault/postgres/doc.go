// Package postgres keeps the vault in a table of a PostgreSQL database: a row for each name. It must never write a row whose version it has
// not compared in the same statement.
package postgres
