package demo

import (
	"context"
	"fmt"

	"github.com/broletto/broletto/operator/localnode"
)

// node is the stand-in node of the demo's own control plane, if there is one.
type node struct{ *localnode.Node }

// startNode starts it, after building what runs stacks, which takes minutes the first time. A cluster with nodes needs none.
func (d *demo) startNode(ctx context.Context) (node, error) {
	if d.Node != "" || d.Runner == "" {
		return node{}, nil
	}
	o, err := localnode.For(ctx, d.cluster)
	if err != nil {
		return node{}, err
	}
	o.Runner, o.Dir = d.Runner, d.path("local-node")
	if d.Engines != nil {
		if o.Engines, err = d.Engines(ctx, d.Out); err != nil {
			return node{}, fmt.Errorf("building what runs stacks: %w", err)
		}
	}
	started, err := localnode.Start(ctx, o)
	if err != nil {
		return node{}, err
	}
	fmt.Fprintf(d.Out, "local node runs stacks, %s\n", started.Jail())
	return node{started}, nil
}

func (n node) stop() error {
	if n.Node == nil {
		return nil
	}
	return n.Stop()
}
