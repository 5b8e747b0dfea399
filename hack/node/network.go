//go:build linux

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Addresses in the box. The bridge joins nodes, the world, and the box's own network, where the control plane is.
const (
	bridgeName     = "bridge"
	cable          = "to-" // and a name: the bridge's end of the link to a network namespace
	controlAddress = "172.30.0.1"
	worldAddress   = "172.30.0.99"
	worldName      = "world"
)

// worldRoutes are the ranges outside the cluster that have somebody in them: one that a tenant may be allowed to reach, one that it is
// not, one of private addresses, and the address at which clouds tell their machines secrets.
var worldRoutes = map[string]string{
	"10.20.0.10":      "10.20.0.0/24",
	"203.0.113.10":    "203.0.113.0/24",
	"198.51.100.10":   "198.51.100.0/24",
	"169.254.169.254": "169.254.169.254/32",
}

// nodeAddress is the one of the i-th node, counted from 1.
func nodeAddress(i int) string { return "172.30.0." + strconv.Itoa(10+i) }

// podRange holds the addresses of that node's pods.
func podRange(i int) string { return fmt.Sprintf("10.244.%d.0/24", i) }

// makeNetwork makes the bridge, and a namespace on it for each node and for the world, with routes to each node's pods.
func makeNetwork(nodes int) error {
	if err := settle(); err != nil {
		return err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making the bridge: %w (the kernel needs CONFIG_BRIDGE)", err)
	}
	if err := errors.Join(address(bridge, controlAddress+"/24"), netlink.LinkSetUp(bridge), podRoutes(nodes, 0)); err != nil {
		return err
	}
	for i := 1; i <= nodes; i++ {
		err := attach(Nodes[i-1], nodeAddress(i), func() error { return errors.Join(podRoutes(nodes, i), routesToWorld()) })
		if err != nil {
			return fmt.Errorf("making the network of %s: %w", Nodes[i-1], err)
		}
	}
	return attach(worldName, worldAddress, func() error {
		loopback, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for host := range worldRoutes {
			err = errors.Join(err, address(loopback, host+"/32"))
		}
		return errors.Join(err, podRoutes(nodes, 0))
	})
}

// settle brings up the loopback of the network namespace that we are in, and has it forward packets.
func settle() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	settings := map[string]string{"ip_forward": "1", "conf/all/rp_filter": "0", "conf/default/rp_filter": "0", "conf/all/route_localnet": "1"}
	for name, value := range settings {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting net.ipv4.%s: %w", name, err)
		}
	}
	return netlink.LinkSetUp(loopback)
}

// attach makes a network namespace of that name with an interface on the bridge, and finishes it from within.
func attach(name, ip string, finish func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ours, err := netns.Get()
	if err != nil {
		return err
	}
	defer func() { _ = ours.Close() }()
	theirs, err := netns.NewNamed(name) // and enter it
	if err != nil {
		return err
	}
	defer func() { _ = theirs.Close() }()
	if err := netns.Set(ours); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	attrs := netlink.LinkAttrs{Name: cable + name, MasterIndex: bridge.Attrs().Index}
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(theirs)}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(pair); err != nil {
		return err
	}
	if err := netns.Set(theirs); err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err == nil {
		err = errors.Join(settle(), address(eth0, ip+"/24"), netlink.LinkSetUp(eth0))
	}
	if err == nil {
		err = finish()
	}
	return errors.Join(err, netns.Set(ours))
}

// plug puts a node's cable in, or pulls it.
func plug(name string, in bool) error {
	link, err := netlink.LinkByName(cable + name)
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	if in {
		return netlink.LinkSetUp(link)
	}
	return netlink.LinkSetDown(link)
}

func address(link netlink.Link, cidr string) error {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, a)
}

// podRoutes lead to the pods of all nodes but the i-th.
func podRoutes(nodes, i int) error {
	var err error
	for n := 1; n <= nodes; n++ {
		if n != i {
			err = errors.Join(err, route(podRange(n), nodeAddress(n)))
		}
	}
	return err
}

func routesToWorld() error {
	var err error
	for _, cidr := range worldRoutes {
		err = errors.Join(err, route(cidr, worldAddress))
	}
	return err
}

func route(cidr, via string) error {
	_, destination, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: destination, Gw: net.ParseIP(via)})
}
