package manager

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/stack"
	"github.com/broletto/broletto/operator/tenant"
)

// Stacks says how stacks are run.
type Stacks struct {
	// Vault keeps what belongs to them.
	Vault stack.Vault
	// Keys are the tenants', which go with them; nil: there are none.
	Keys tenant.Keys
	// RunnerImage is what their runs' pods run.
	RunnerImage string
	// BrokerURL and BrokerCA are how runs reach the broker, and by which certificates they know it; BrokerPort is that of the
	// operator's own pods; 0: 9443.
	BrokerURL  string
	BrokerCA   []byte
	BrokerPort int32
}

// RunnerImage is what the pods of runs run unless they are told otherwise.
const RunnerImage = "broletto-runner"

// brokerPort is where the operator's pods serve the broker.
const brokerPort = 9443

// forbidden are types of resource and data source that run programs of their own or touch the runner's own disk.
var forbidden = []string{"external", "local_*"}

// prefixes are ranges of addresses as numbers.
func prefixes(ranges []string) (all []netip.Prefix, err error) {
	for _, text := range ranges {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("the range %q of --source-ranges cannot be read: %w; write it as 10.20.0.0/16", text, err)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// stacks sets up what runs stacks.
func stacks(mgr ctrl.Manager, c client.Client, recorder events.EventRecorder, o Options) error {
	if o.Stacks == nil {
		return nil
	}
	ranges, err := prefixes(o.SourceRanges)
	if err != nil {
		return err
	}
	r := &stack.Reconciler{
		Client: c, Live: mgr.GetAPIReader(), Vault: o.Stacks.Vault, Events: recorder, Now: o.Now,
		Namespace: o.Namespace, Image: o.Stacks.RunnerImage,
		BrokerURL: o.Stacks.BrokerURL, BrokerCA: o.Stacks.BrokerCA, BrokerPort: cmp.Or(o.Stacks.BrokerPort, brokerPort),
		Rules: stack.Rules{Forbidden: forbidden, SourceRanges: ranges},
	}
	return errors.Join(
		r.SetupWithManager(mgr),
		metrics.Registry.Register(stack.Collector(mgr.GetCache())),
		metrics.Registry.Register(stack.RunCollector(mgr.GetCache())),
	)
}
