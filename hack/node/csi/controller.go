//go:build linux

package csi

import (
	"context"
	"slices"
	"strconv"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// controller makes and deletes volumes and snapshots. An id is the name that was asked for.
type controller struct {
	spec.UnimplementedControllerServer
	store *store
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *spec.ControllerGetCapabilitiesRequest,
) (*spec.ControllerGetCapabilitiesResponse, error) {
	out := &spec.ControllerGetCapabilitiesResponse{}
	for _, t := range []spec.ControllerServiceCapability_RPC_Type{
		spec.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		spec.ControllerServiceCapability_RPC_CLONE_VOLUME,
		spec.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		spec.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	} {
		out.Capabilities = append(out.Capabilities, &spec.ControllerServiceCapability{
			Type: &spec.ControllerServiceCapability_Rpc{Rpc: &spec.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return out, nil
}

// CreateVolume makes a volume: empty, of a snapshot, or as a copy of another volume.
func (c *controller) CreateVolume(ctx context.Context, r *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	if err := mountable(r.GetVolumeCapabilities()...); err != nil {
		return nil, err
	}
	limits := r.GetCapacityRange()
	want := record{ref: ref{volumes, r.GetName()}, Size: limits.GetRequiredBytes()}
	if s := r.GetVolumeContentSource().GetSnapshot(); s != nil {
		want.Source = ref{snapshots, s.GetSnapshotId()}
	}
	if v := r.GetVolumeContentSource().GetVolume(); v != nil {
		want.Source = ref{volumes, v.GetVolumeId()}
	}
	have, err := c.store.create(ctx, want)
	if err != nil {
		return nil, err
	}
	if have.Source != want.Source || !fits(have.Size, limits) {
		return nil, status.Errorf(codes.AlreadyExists, "%s: is there with another source or size; ask under another name", have)
	}
	return &spec.CreateVolumeResponse{Volume: &spec.Volume{
		VolumeId: have.ID, CapacityBytes: have.Size, ContentSource: r.GetVolumeContentSource(),
	}}, nil
}

func fits(size int64, limits *spec.CapacityRange) bool {
	return size >= limits.GetRequiredBytes() && (limits.GetLimitBytes() == 0 || size <= limits.GetLimitBytes())
}

// mountable refuses what is no folder.
func mountable(capabilities ...*spec.VolumeCapability) error {
	if len(capabilities) == 0 || capabilities[0] == nil {
		return status.Error(codes.InvalidArgument, "no volume capability given")
	}
	for _, c := range capabilities {
		if c.GetBlock() != nil {
			return status.Error(codes.InvalidArgument, "a volume here is a folder: ask for volumeMode Filesystem, not Block")
		}
	}
	return nil
}

func (c *controller) DeleteVolume(_ context.Context, r *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	if err := given("volume id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	return &spec.DeleteVolumeResponse{}, c.store.delete(ref{volumes, r.GetVolumeId()})
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, r *spec.ValidateVolumeCapabilitiesRequest,
) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	if err := given("volume id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no volume capability given")
	}
	if _, err := c.store.get(ref{volumes, r.GetVolumeId()}); err != nil {
		return nil, err
	}
	if refused := mountable(r.GetVolumeCapabilities()...); refused != nil {
		return &spec.ValidateVolumeCapabilitiesResponse{Message: status.Convert(refused).Message()}, nil
	}
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

// ControllerExpandVolume is all of an expansion: nodes have nothing to do.
func (c *controller) ControllerExpandVolume(
	_ context.Context, r *spec.ControllerExpandVolumeRequest,
) (*spec.ControllerExpandVolumeResponse, error) {
	if err := given("volume id", r.GetVolumeId()); err != nil {
		return nil, err
	}
	if r.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "no capacity range given")
	}
	size, err := c.store.grow(ref{volumes, r.GetVolumeId()}, r.GetCapacityRange().GetRequiredBytes())
	if err != nil {
		return nil, err
	}
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: size}, nil
}

func (c *controller) CreateSnapshot(ctx context.Context, r *spec.CreateSnapshotRequest) (*spec.CreateSnapshotResponse, error) {
	if err := given("source volume id", r.GetSourceVolumeId()); err != nil {
		return nil, err
	}
	want := record{ref: ref{snapshots, r.GetName()}, Source: ref{volumes, r.GetSourceVolumeId()}}
	have, err := c.store.create(ctx, want)
	if err != nil {
		return nil, err
	}
	if have.Source != want.Source {
		return nil, status.Errorf(codes.AlreadyExists, "%s: is there, of %s; ask under another name", have, have.Source)
	}
	return &spec.CreateSnapshotResponse{Snapshot: described(have)}, nil
}

func (c *controller) DeleteSnapshot(_ context.Context, r *spec.DeleteSnapshotRequest) (*spec.DeleteSnapshotResponse, error) {
	if err := given("snapshot id", r.GetSnapshotId()); err != nil {
		return nil, err
	}
	return &spec.DeleteSnapshotResponse{}, c.store.delete(ref{snapshots, r.GetSnapshotId()})
}

// ListSnapshots pages by position.
func (c *controller) ListSnapshots(_ context.Context, r *spec.ListSnapshotsRequest) (*spec.ListSnapshotsResponse, error) {
	all, err := c.store.list(snapshots)
	if err != nil {
		return nil, err
	}
	var chosen []*spec.ListSnapshotsResponse_Entry
	for _, s := range all {
		if (r.GetSnapshotId() == "" || r.GetSnapshotId() == s.ID) && (r.GetSourceVolumeId() == "" || r.GetSourceVolumeId() == s.Source.ID) {
			chosen = append(chosen, &spec.ListSnapshotsResponse_Entry{Snapshot: described(s)})
		}
	}
	first := 0
	if token := r.GetStartingToken(); token != "" {
		if first, err = strconv.Atoi(token); err != nil || first < 0 || first > len(chosen) {
			return nil, status.Errorf(codes.Aborted, "starting token %q is none of ours; list from the start", token)
		}
	}
	last := len(chosen)
	out := &spec.ListSnapshotsResponse{}
	if most := int(r.GetMaxEntries()); most > 0 && first+most < last {
		last = first + most
		out.NextToken = strconv.Itoa(last)
	}
	out.Entries = chosen[first:last]
	return out, nil
}

func described(s record) *spec.Snapshot {
	return &spec.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Source.ID, SizeBytes: s.Size, CreationTime: timestamppb.New(s.Created), ReadyToUse: true,
	}
}

// given refuses a call that leaves a name out. It takes pairs of what a name is and the name.
func given(pairs ...string) error {
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] == "" {
			return status.Errorf(codes.InvalidArgument, "no %s given", pair[0])
		}
	}
	return nil
}
