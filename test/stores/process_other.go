//go:build unix && !linux

package stores

import "syscall"

// attributes gives the child another user where one is named.
func attributes(uid, gid int) *syscall.SysProcAttr {
	if uid == 0 || uid == syscall.Getuid() {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
