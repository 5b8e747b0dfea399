// Package dump hands a database's dump from the client programs that write it to a mover, and back: through a socket of their pod, in pieces, and
// with how the program ended, so that what broke off never passes for whole. The programs, which speak with a server of the tenant's, run
// without the mover's order; the mover never knows the database's password. Nothing is kept in a file.
package dump
