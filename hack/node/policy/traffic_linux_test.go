package policy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long what should be open may take to answer, and restraint how long what should be closed is tried.
const (
	patience  = 10 * time.Second
	restraint = 500 * time.Millisecond
)

// ports are those that every pod listens on, for TCP and UDP.
var ports = []int{53, 80, 443, 5353, 5432, 8005, 8011, 8080, 8081, 8082}

// probe is one try to connect, and whether it should succeed.
type probe struct {
	from, network, to string // a pod or a host; to has a port as well
	open              bool
}

// TestTraffic sends real traffic between pods on two nodes under the rules of golden cases. What is closed stands beside what is open.
func TestTraffic(t *testing.T) {
	needs(t, "nft", "ip", "nsenter")
	n := newNetwork(t)
	for name, probes := range map[string][]probe{
		"no-policy": {
			{"shop/web", "tcp", "bank/web:8081", true},
			{"shop/web", "udp", "bank/audit:53", true},
			{"bank/audit", "tcp", "shop/web:80", true},
			{"near", "tcp", "shop/web:80", true},
			{"shop/web", "tcp", "service:80", true},
			{"stranger", "tcp", "shop/web:80", false}, // an address of the node's range that is not a known pod's
			{"stranger", "udp", "bank/audit:53", false},
			{"shop/web", "tcp", "stranger:80", false},
			{"bank/audit", "udp", "stranger:53", false},
			{"n1", "tcp", "stranger:80", true},
		},
		"deny-ingress": {
			{"shop/db", "tcp", "shop/web:8080", false},
			{"bank/web", "udp", "shop/web:53", false},
			{"near", "tcp", "shop/web:80", false},
			{"n2", "tcp", "shop/web:80", false}, // another node is a peer like any other
			{"n1", "tcp", "shop/web:80", true},
			{"n1", "udp", "shop/web:53", true},
			{"shop/web", "tcp", "bank/web:8081", true},
			{"shop/web", "udp", "bank/audit:53", true},
			{"bank/web", "tcp", "bank/audit:80", true},
		},
		"deny-egress": {
			{"shop/web", "tcp", "bank/web:8081", false},
			{"shop/web", "udp", "bank/audit:53", false},
			{"shop/web", "tcp", "service:80", false},
			{"shop/web", "tcp", "near:80", false},
			{"bank/web", "tcp", "shop/web:80", true},
			{"bank/audit", "udp", "shop/web:53", true},
		},
		"deny-both": {
			{"shop/web", "tcp", "shop/db:80", false},
			{"shop/db", "tcp", "shop/web:80", false},
			{"bank/web", "tcp", "shop/web:80", false},
			{"shop/web", "tcp", "itself:80", true}, // a pod by way of its own Service
			{"bank/web", "tcp", "bank/audit:80", true},
		},
		"types-listed": {
			{"shop/web", "tcp", "shop/db:80", true},
			{"shop/web", "tcp", "bank/web:80", false},
			{"bank/web", "tcp", "shop/web:80", true},
		},
		"peer-both": {
			{"bank/web", "tcp", "shop/web:80", true},
			{"bank/audit", "tcp", "shop/web:80", false},
			{"shop/db", "tcp", "shop/web:80", false},
			{"shop/web", "udp", "bank/audit:53", true},
			{"shop/web", "udp", "bank/web:53", true},
			{"shop/web", "tcp", "shop/db:80", false},
		},
		"same-node": {
			{"shop/web", "tcp", "bank/web:8081", true},
			{"shop/web", "tcp", "bank/web:80", false}, // egress allows, ingress does not
			{"shop/web", "udp", "bank/web:53", false}, // likewise
			{"shop/web", "tcp", "shop/db:80", false},  // egress does not allow
			{"bank/audit", "tcp", "bank/web:8081", false},
			{"shop/db", "tcp", "bank/web:8081", true}, // from the other node, whose egress allows
			{"shop/db", "tcp", "bank/audit:8081", true},
			{"bank/web", "tcp", "shop/web:80", true},
		},
		"block": {
			{"near", "tcp", "shop/web:80", true},
			{"far", "tcp", "shop/web:80", true},
			{"beside", "tcp", "shop/web:80", false},
			{"bank/web", "tcp", "shop/web:80", false},
			{"shop/web", "tcp", "beside:80", true},
		},
		"block-except": {
			{"shop/web", "tcp", "metadata:80", false},
			{"shop/web", "tcp", "near:80", true},
			{"bank/web", "tcp", "metadata:80", true},
			{"shop/db", "tcp", "shop/web:80", true}, // by selector, though within an exception
			{"shop/db", "tcp", "shop/web:443", false},
			{"bank/audit", "tcp", "shop/web:80", false},
		},
		"ports": {
			{"near", "tcp", "shop/web:80", true},
			{"near", "udp", "shop/web:53", true},
			{"near", "tcp", "shop/web:8005", true}, // in a range
			{"near", "tcp", "shop/web:8011", false},
			{"near", "udp", "shop/web:80", false}, // the protocol counts
			{"near", "tcp", "shop/web:53", false},
			{"shop/db", "tcp", "shop/web:443", true},  // all ports of a protocol
			{"shop/db", "udp", "shop/web:443", false}, // ingress allows, egress on the other node does not
			{"shop/web", "tcp", "shop/db:443", false}, // egress allows, ingress of the other node does not
			{"shop/web", "tcp", "near:443", true},
			{"shop/web", "tcp", "near:80", false},
			{"shop/web", "tcp", "bank/web:443", false},
		},
		"named-ingress": {
			{"near", "tcp", "shop/web:8080", true},
			{"near", "tcp", "shop/web:5432", false},
			{"shop/db", "udp", "shop/web:5353", true},
			{"bank/web", "udp", "shop/web:5353", false},
		},
		"named-egress": {
			{"shop/web", "tcp", "bank/web:8081", true},
			{"shop/web", "tcp", "bank/audit:8082", true},
			{"shop/web", "tcp", "bank/audit:8081", false}, // another pod's number
			{"shop/web", "tcp", "service:80", true},       // judged as what it leads to
		},
		"several": {
			{"shop/db", "tcp", "shop/web:443", false}, // its egress is closed by the first
			{"bank/audit", "tcp", "shop/web:8080", true},
			{"bank/audit", "tcp", "shop/web:80", false},
			{"shop/web", "udp", "near:53", true},
			{"shop/web", "tcp", "near:53", false},
			{"shop/web", "tcp", "bank/web:80", false},
		},
		"contested": {
			{"bank/audit", "tcp", "shop/web:80", false},
			{"shop/web", "tcp", "bank/audit:80", false},
			{"bank/audit", "tcp", "bank/web:80", true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.enforce(t, name)
			n.try(t, probes)
		})
	}
	t.Run("established", func(t *testing.T) { established(t, n) })
}

// established proves what the package says of connections that are there when a policy comes.
func established(t *testing.T, n *network) {
	n.enforce(t, "no-policy")
	old, err := n.dial("shop/db", "tcp", "shop/web:80", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	if err := echo(old, patience); err != nil {
		t.Fatal(err)
	}
	n.enforce(t, "deny-ingress")
	n.try(t, []probe{{"shop/db", "tcp", "shop/web:80", false}, {"bank/web", "tcp", "bank/audit:80", true}})
	if err := echo(old, patience); err != nil {
		t.Errorf("an established connection was cut: %v", err)
	}
}

// network is two nodes, the pods of testdata/cluster.yaml on them, one pod more that no state knows, and hosts outside, all attached to their
// node as the ptp plugin attaches pods: by a pair of interfaces and a route to one address.
type network struct {
	spaces    map[string]space
	addresses map[string]string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{spaces: map[string]space{}, addresses: map[string]string{
		"shop/web": "10.244.1.2", "bank/web": "10.244.1.3", "stranger": "10.244.1.9", "shop/db": "10.244.2.2", "bank/audit": "10.244.2.3",
		"near": "192.0.2.1", "far": "198.51.100.7", "beside": "198.51.100.8", "metadata": "169.254.169.254",
		"service": "10.96.0.10", "itself": "10.96.0.11",
	}}
	for _, node := range []string{"n1", "n2"} {
		n.spaces[node] = newSpace(t)
	}
	one, two := n.spaces["n1"], n.spaces["n2"]
	one.run(t, "", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", two.pid)
	for node, route := range map[space]string{one: "10.244.2.0/24 via 172.30.0.12", two: "default via 172.30.0.11"} {
		own := map[space]string{one: "172.30.0.11/24", two: "172.30.0.12/24"}[node]
		node.run(t, "address add "+own+" dev eth0\nlink set eth0 up\nlink set lo up\nroute add "+route, "ip", "-batch", "-")
		if err := node.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }); err != nil {
			t.Fatal(err)
		}
	}
	one.run(t, services, "nft", "-f", "-")
	for name, address := range n.addresses {
		if strings.HasPrefix(address, "10.96.") {
			continue
		}
		node := "n1"
		if strings.HasPrefix(address, "10.244.2.") {
			node = "n2"
		}
		n.spaces[name] = attach(t, n.spaces[node], address)
	}
	return n
}

// services translates as kube-proxy does: before the forward hook, and with another source for a pod that comes back to itself.
const services = `table ip services {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.2.3:8082
		ip daddr 10.96.0.11 tcp dport 80 dnat to 10.244.1.2:80
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade
	}
}
`

// attach gives an address to a new space, behind a node, where every port answers.
func attach(t *testing.T, node space, address string) space {
	t.Helper()
	s := newSpace(t)
	outer := "veth-" + s.pid
	node.run(t, "", "ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", s.pid)
	node.run(t, fmt.Sprintf("address add 10.244.0.1/32 dev %[1]s\nlink set %[1]s up\nroute add %[2]s/32 dev %[1]s", outer, address), "ip", "-batch", "-")
	s.run(t, "address add "+address+"/32 dev eth0\nlink set eth0 up\nroute add 10.244.0.1 dev eth0\nroute add default via 10.244.0.1", "ip", "-batch", "-")
	for _, port := range ports {
		if err := s.inside(func() error { return serve(t, fmt.Sprintf("%s:%d", address, port)) }); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// serve sends back what comes, by TCP and UDP, until the test ends.
func serve(t *testing.T, address string) error {
	tcp, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = tcp.Close() })
	udp, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	go func() {
		buffer := make([]byte, 16)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buffer[:n], from)
		}
	}()
	return nil
}

// enforce loads the rules of a golden case on both nodes.
func (n *network) enforce(t *testing.T, name string) {
	t.Helper()
	for _, node := range []string{"n1", "n2"} {
		n.spaces[node].run(t, Rules(state(t, node, read(t, "testdata/cluster.yaml"), read(t, filepath.Join("testdata", name, "in.yaml")))), "nft", "-f", "-")
	}
}

// try makes all probes at once.
func (n *network) try(t *testing.T, probes []probe) {
	t.Helper()
	var all sync.WaitGroup
	for _, p := range probes {
		all.Go(func() {
			limit := restraint
			if p.open {
				limit = patience
			}
			c, err := n.dial(p.from, p.network, p.to, limit)
			if err == nil {
				err = echo(c, limit)
				_ = c.Close()
			}
			var network net.Error
			cut := errors.As(err, &network) && network.Timeout() // rather than refused, or without a route
			if p.open && err != nil || !p.open && !cut {
				t.Errorf("%s to %s by %s: got %v, want it open: %t", p.from, p.to, p.network, err, p.open)
			}
		})
	}
	all.Wait()
}

func (n *network) dial(from, protocol, to string, limit time.Duration) (c net.Conn, err error) {
	host, port, _ := strings.Cut(to, ":")
	err = n.spaces[from].inside(func() (err error) {
		c, err = net.DialTimeout(protocol+"4", n.addresses[host]+":"+port, limit)
		return err
	})
	return c, err
}

// echo sends something until it comes back.
func echo(c net.Conn, limit time.Duration) (err error) {
	buffer := make([]byte, 16)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if _, err = c.Write([]byte("hello")); err != nil {
			return err
		}
		if err = c.SetReadDeadline(time.Now().Add(restraint / 2)); err != nil {
			return err
		}
		if _, err = c.Read(buffer); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return err
}

// space is a network namespace, held by a process that ends when its input does: with this process at the latest. All that is in it ends too.
type space struct{ pid string }

func newSpace(t *testing.T) space {
	t.Helper()
	holder := exec.Command("cat")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = holder.Wait()
	})
	return space{strconv.Itoa(holder.Process.Pid)}
}

func (s space) file() string { return "/proc/" + s.pid + "/ns/net" }

// command is one to run in the space.
func (s space) command(input string, command ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=" + s.file()}, command...)...)
	cmd.Stdin = strings.NewReader(input)
	return cmd
}

func (s space) run(t *testing.T, input string, command ...string) {
	t.Helper()
	if out, err := s.command(input, command...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s\n%s", command, err, out, input)
	}
}

// inside calls f on a thread of the space, which ends with it. Sockets stay where they were made.
func (s space) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			file, err := os.Open(s.file())
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}
