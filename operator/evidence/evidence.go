// Package evidence is what was seen of the cluster's network, node by node, in a config map that broletto doctor writes and the operator
// reads. What is not just as it would be written is believed by nobody.
package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

const (
	// Name is the config map's, in the operator's namespace. Only the platform may write there.
	Name = "network-evidence"
	// Lifetime is how long evidence is good for: a network is changed by its upgrades, which come monthly.
	Lifetime = 31 * 24 * time.Hour
	// MaxSeen bounds Node.Seen in bytes: five thousand nodes have to fit into a config map of 1 MiB when all is well.
	MaxSeen = 512
)

// Node is what was seen on one node.
type Node struct {
	// UID tells a node from another that had its name before.
	UID types.UID `json:"uid"`
	// Enforced is true when everything that was forbidden was cut and everything that was allowed passed, and false when something
	// forbidden passed. A node on which neither was seen is not named at all.
	Enforced bool `json:"enforced"`
	// At is when.
	At time.Time `json:"at"`
	// Seen says what passed that should not have: from which node to which, by which protocol. Empty where all was cut.
	Seen string `json:"seen,omitempty"`
}

// Network is what was seen, by the name of the node.
type Network map[string]Node

// Read takes the evidence from the data of the config map.
func Read(data map[string]string) (Network, error) {
	network := Network{}
	for name, text := range data {
		var node Node
		if err := json.Unmarshal([]byte(text), &node); err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		if again, err := json.Marshal(node); err != nil || string(again) != text {
			return nil, fmt.Errorf("key %s: it would be written otherwise", name)
		}
		if err := node.sound(); err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		network[name] = node
	}
	return network, nil
}

func (n Node) sound() error {
	switch {
	case n.UID == "":
		return errors.New("it has no uid")
	case n.At.IsZero():
		return errors.New("it has no time")
	case len(n.Seen) > MaxSeen:
		return errors.New("seen is too long")
	case n.Enforced != (n.Seen == ""):
		return errors.New("just what is not enforced was seen")
	}
	return nil
}

// ConfigMap is the evidence as it is applied. It replaces all that was known before.
func (n Network) ConfigMap(namespace string) (*corev1ac.ConfigMapApplyConfiguration, error) {
	data := map[string]string{}
	for name, node := range n {
		node.At = node.At.UTC().Truncate(time.Second)
		text, err := json.Marshal(node)
		if err != nil {
			return nil, err
		}
		data[name] = string(text)
	}
	if _, err := Read(data); err != nil {
		return nil, err
	}
	return corev1ac.ConfigMap(Name, namespace).WithData(data), nil
}
