package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxConnections bounds what a server holds open at a time; more wait in the kernel's queue.
	maxConnections = 64
	// patience is how long a connection may stay without a whole question.
	patience = 5 * time.Second
)

// Server answers questions on TCP and UDP at the same port, with its name.
type Server struct {
	name string
	tcp  net.Listener
	udp  net.PacketConn
}

// Listen opens both ports at an address of this machine, empty for all; port 0 takes any that is free for both. A machine with several
// addresses that is asked on UDP at one may answer from another, unless it listens at just that one.
func Listen(ctx context.Context, address string, port uint16, name string) (*Server, error) {
	if len(name) > 253 || strings.ContainsAny(name, "\r\n") {
		return nil, fmt.Errorf("name %.20q of the server: want one line of at most 253 bytes", name)
	}
	var config net.ListenConfig
	tcp, err := config.Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	_, taken, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	udp, err := config.ListenPacket(ctx, "udp", net.JoinHostPort(address, taken))
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return &Server{name: name, tcp: tcp, udp: udp}, nil
}

// Port is where the server listens.
func (s *Server) Port() int { return s.tcp.Addr().(*net.TCPAddr).Port }

// Serve answers until the context ends, which is no error.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = s.tcp.Close() // both loops end by it
		_ = s.udp.Close()
	})
	defer stop()
	failed := make(chan error, 2)
	go func() { failed <- s.serveTCP() }()
	go func() { failed <- s.serveUDP() }()
	err := <-failed
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, s.tcp.Close(), s.udp.Close())
}

func (s *Server) serveTCP() error {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, maxConnections)
	for {
		slots <- struct{}{}
		connection, err := s.tcp.Accept()
		if err != nil {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		open.Go(func() {
			defer func() { <-slots }()
			defer func() { _ = connection.Close() }() // nothing is left to lose
			_ = connection.SetDeadline(time.Now().Add(patience))
			question, err := bufio.NewReader(io.LimitReader(connection, maxMessage)).ReadBytes('\n')
			if err == nil {
				_, _ = io.WriteString(connection, answer(question, s.name)) // who asked finds out if it does not arrive
			}
		})
	}
}

func (s *Server) serveUDP() error {
	buffer := make([]byte, maxMessage)
	for {
		n, from, err := s.udp.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // such as a refusal of our last answer: it concerns one client
		}
		if text := answer(buffer[:n], s.name); text != "" {
			_, _ = s.udp.WriteTo([]byte(text), from)
		}
	}
}
