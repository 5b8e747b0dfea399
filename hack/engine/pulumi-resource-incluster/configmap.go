package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// ConfigMap is the resource. It owns its object's data as a whole: a key that the program does not have is drift.
type ConfigMap struct{}

// ConfigMapArgs is what a program says of it.
type ConfigMapArgs struct {
	Namespace *string           `pulumi:"namespace,optional" provider:"replaceOnChanges"`
	Name      string            `pulumi:"name" provider:"replaceOnChanges"`
	Data      map[string]string `pulumi:"data"`
}

// ConfigMapState is what the stack keeps of it, and what a program can refer to.
type ConfigMapState struct {
	Namespace string            `pulumi:"namespace"`
	Name      string            `pulumi:"name"`
	Data      map[string]string `pulumi:"data"`
}

var (
	_ infer.CustomResource[ConfigMapArgs, ConfigMapState] = ConfigMap{}
	_ infer.CustomRead[ConfigMapArgs, ConfigMapState]     = ConfigMap{}
	_ infer.CustomUpdate[ConfigMapArgs, ConfigMapState]   = ConfigMap{}
	_ infer.CustomDelete[ConfigMapState]                  = ConfigMap{}
)

// Annotate gives the resource its token and its words in the schema.
func (c *ConfigMap) Annotate(a infer.Annotator) {
	a.SetToken("index", "ConfigMap")
	a.Describe(c, "A ConfigMap of the cluster that the program runs in.")
}

// Annotate describes the inputs.
func (c *ConfigMapArgs) Annotate(a infer.Annotator) {
	a.Describe(&c.Namespace, "The namespace; the pod's own where there is none. Another one replaces the object.")
	a.Describe(&c.Name, "The object's name. Another one replaces the object.")
	a.Describe(&c.Data, "All of the object's data.")
}

// Create makes the object. One that exists is somebody else's, and is not adopted, unless this very resource made it and its engine was
// killed before it could write that down.
func (ConfigMap) Create(
	ctx context.Context, req infer.CreateRequest[ConfigMapArgs],
) (infer.CreateResponse[ConfigMapState], error) {
	var none infer.CreateResponse[ConfigMapState]
	pod := podOf()
	state, err := pod.state(req.Inputs)
	if err != nil {
		return none, err
	}
	made := infer.CreateResponse[ConfigMapState]{ID: state.id(), Output: state}
	if req.DryRun {
		return made, nil
	}
	api, err := pod.client()
	if err != nil {
		return none, err
	}
	owner := ownerOf(api.token, req.Name)
	err = api.create(ctx, state, owner)
	if errors.Is(err, errExists) && api.owned(ctx, state, owner) {
		err = api.update(ctx, state)
	}
	if errors.Is(err, errExists) {
		err = fmt.Errorf("config map %s exists: delete it, choose another name, or import it under this id", state.id())
	}
	if err != nil {
		return none, err
	}
	return made, nil
}

// Read looks at the object. One that is gone has no id, which tells the engine; what somebody changed comes back both as the
// inputs and as the state, so that the next plan changes it back.
func (ConfigMap) Read(
	ctx context.Context, req infer.ReadRequest[ConfigMapArgs, ConfigMapState],
) (infer.ReadResponse[ConfigMapArgs, ConfigMapState], error) {
	var gone infer.ReadResponse[ConfigMapArgs, ConfigMapState]
	namespace, name, ok := strings.Cut(req.ID, "/")
	if !ok {
		return gone, fmt.Errorf("config map %q: not an id: write namespace/name", req.ID)
	}
	api, err := podOf().client()
	if err != nil {
		return gone, err
	}
	data, err := api.read(ctx, ConfigMapState{Namespace: namespace, Name: name})
	if errors.Is(err, errGone) {
		return gone, nil
	}
	if err != nil {
		return gone, err
	}
	inputs := ConfigMapArgs{Namespace: req.Inputs.Namespace, Name: name, Data: data}
	if req.Inputs.Name == "" { // an import: nothing is known but the id
		inputs.Namespace = &namespace
	}
	return infer.ReadResponse[ConfigMapArgs, ConfigMapState]{
		ID: req.ID, Inputs: inputs, State: ConfigMapState{Namespace: namespace, Name: name, Data: data},
	}, nil
}

// Update replaces the object's data. The engine replaces the object itself when its name changes.
func (ConfigMap) Update(
	ctx context.Context, req infer.UpdateRequest[ConfigMapArgs, ConfigMapState],
) (infer.UpdateResponse[ConfigMapState], error) {
	var none infer.UpdateResponse[ConfigMapState]
	state := ConfigMapState{Namespace: req.State.Namespace, Name: req.State.Name, Data: req.Inputs.Data}
	updated := infer.UpdateResponse[ConfigMapState]{Output: state}
	if req.DryRun {
		return updated, nil
	}
	api, err := podOf().client()
	if err != nil {
		return none, err
	}
	err = api.update(ctx, state)
	if errors.Is(err, errGone) {
		err = fmt.Errorf("config map %s is gone: refresh, so that it is created again", state.id())
	}
	if err != nil {
		return none, err
	}
	return updated, nil
}

// Delete removes the object. That it is gone already is as good.
func (ConfigMap) Delete(ctx context.Context, req infer.DeleteRequest[ConfigMapState]) (infer.DeleteResponse, error) {
	api, err := podOf().client()
	if err != nil {
		return infer.DeleteResponse{}, err
	}
	if err := api.remove(ctx, req.State); err != nil && !errors.Is(err, errGone) {
		return infer.DeleteResponse{}, err
	}
	return infer.DeleteResponse{}, nil
}

// id is namespace/name, as kubectl's users write it.
func (s ConfigMapState) id() string { return s.Namespace + "/" + s.Name }
