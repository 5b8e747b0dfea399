//go:build linux

package node

import (
	"io"
	"net"
	"time"
)

// forward leads every connection to a listener of outside on to an address inside.
func forward(listener net.Listener, address string) {
	for {
		outer, err := listener.Accept()
		if err != nil {
			return // the listener lives as long as the box
		}
		go func() {
			defer func() { _ = outer.Close() }()
			inner, err := net.DialTimeout("tcp4", address, 10*time.Second)
			if err != nil {
				return
			}
			defer func() { _ = inner.Close() }()
			go func() {
				_, _ = io.Copy(inner, outer)
				_ = inner.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(outer, inner)
		}()
	}
}
