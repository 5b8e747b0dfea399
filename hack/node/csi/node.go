//go:build linux

package csi

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// node mounts volumes where the kubelet wants them.
type node struct {
	spec.UnimplementedNodeServer
	name  string
	store *store
}

func (n *node) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	return &spec.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *node) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	return &spec.NodeGetCapabilitiesResponse{Capabilities: []*spec.NodeServiceCapability{{
		Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{
			Type: spec.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		}},
	}}}, nil
}

// NodePublishVolume mounts a volume's folder onto the target, which it makes.
func (n *node) NodePublishVolume(_ context.Context, r *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	volume, target := ref{volumes, r.GetVolumeId()}, r.GetTargetPath()
	if err := given("volume id", volume.ID, "target path", target); err != nil {
		return nil, err
	}
	if err := mountable(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if _, err := n.store.get(volume); err != nil {
		return nil, err
	}
	err := os.MkdirAll(target, 0o750)
	if err == nil && !same(n.store.data(volume), target) {
		err = unix.Mount(n.store.data(volume), target, "", unix.MS_BIND, "")
	}
	if err == nil && r.GetReadonly() { // a second step: the kernel takes no notice of it in the first
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		return nil, internal(volume, err)
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume unmounts the target and removes it. Never what is in it: should it not be a mount, that is somebody's data.
func (n *node) NodeUnpublishVolume(_ context.Context, r *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	volume, target := ref{volumes, r.GetVolumeId()}, r.GetTargetPath()
	if err := given("volume id", volume.ID, "target path", target); err != nil {
		return nil, err
	}
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not a mount, not there
		return nil, internal(volume, err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, internal(volume, err)
	}
	return &spec.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetVolumeStats counts what is in a volume against the size that was asked for.
func (n *node) NodeGetVolumeStats(_ context.Context, r *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	id := ref{volumes, r.GetVolumeId()}
	if err := given("volume id", id.ID, "volume path", r.GetVolumePath()); err != nil {
		return nil, err
	}
	volume, err := n.store.get(id)
	if err != nil {
		return nil, err
	}
	if !same(n.store.data(id), r.GetVolumePath()) {
		return nil, status.Errorf(codes.NotFound, "%s: not mounted at %s", id, r.GetVolumePath())
	}
	bytes, files := usage(r.GetVolumePath())
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: volume.Size, Used: bytes, Available: max(0, volume.Size-bytes)},
		{Unit: spec.VolumeUsage_INODES, Used: files},
	}}, nil
}

// usage counts what a folder holds. Pods write meanwhile: what cannot be looked at is gone.
func usage(folder string) (bytes, files int64) {
	const blockSize = 512 // of stat(2), whatever the file system's is
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * blockSize
			files++
		}
		return nil
	})
	return bytes, files
}

// same tells whether two paths lead to one folder, as the two ends of a mount do.
func same(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
