//go:build linux

package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"k8s.io/client-go/rest"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Node is the driver's process on one node: it mounts volumes into pods.
type Node struct {
	Name    string // of the Node object
	Root    string // folder of the volumes and snapshots, the same for all processes
	Kubelet string // root folder of the node's kubelet
}

// Serve answers the kubelet until ctx ends. The kubelet finds the socket by its folder and calls both its registration and the driver there.
func (n Node) Serve(ctx context.Context) error {
	socket := n.socket()
	return serve(ctx, socket, func(s *grpc.Server) {
		registration.RegisterRegistrationServer(s, registrar{endpoint: socket})
		spec.RegisterIdentityServer(s, identity{})
		spec.RegisterNodeServer(s, &node{name: n.Name, store: newStore(n.Root)})
	})
}

func (n Node) socket() string {
	return filepath.Join(n.Kubelet, "plugins_registry", Name+".sock")
}

// Controller is the driver's one process for the cluster: it makes and deletes volumes and snapshots.
type Controller struct {
	Root    string       // folder of the volumes and snapshots, the same for all processes
	Socket  string       // where [Sidecars] call
	Cluster *rest.Config // whose claims it serves; nil: it serves the socket alone
}

// Serve answers the sidecars, and claims, until ctx ends.
func (c Controller) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	controller := &controller{store: newStore(c.Root)}
	var provisioning sync.WaitGroup
	if c.Cluster != nil {
		run, err := provision(ctx, c.Cluster, controller)
		if err != nil {
			cancel()
			return err
		}
		provisioning.Go(run)
	}
	err := serve(ctx, c.Socket, func(s *grpc.Server) {
		spec.RegisterIdentityServer(s, identity{})
		spec.RegisterControllerServer(s, controller)
	})
	cancel()
	provisioning.Wait()
	return err
}

// maxSocket is how many bytes of path the kernel takes for a socket.
const maxSocket = 107

// serve listens on a socket of its own until ctx ends.
func serve(ctx context.Context, socket string, register func(*grpc.Server)) error {
	if len(socket) > maxSocket {
		return fmt.Errorf("socket %s: %d bytes are more than the kernel's %d; choose a shorter folder", socket, len(socket), maxSocket)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of a process that was killed
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("socket %s: %w", socket, err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(logged))
	register(server)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

// logged writes down what failed: callers retry in silence.
func logged(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, request)
	if err != nil {
		slog.Warn("call failed", "method", info.FullMethod, "error", err)
	}
	return answer, err
}

// registrar tells the kubelet which driver the socket belongs to.
type registrar struct {
	registration.UnimplementedRegistrationServer
	endpoint string
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: Name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus hears how it went. The kubelet tries again by itself.
func (r registrar) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !s.GetPluginRegistered() {
		slog.Warn("the kubelet did not register the driver", "socket", r.endpoint, "error", s.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
