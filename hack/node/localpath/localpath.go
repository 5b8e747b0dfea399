// Package localpath runs local-path-provisioner beside the nodes. Its objects are in local-path.yaml of package manifests.
package localpath

import (
	"encoding/json"
	"fmt"
)

// Args are the provisioner's. Folder is where the nodes keep the volumes; one for all will do, as their names differ. The rest of its configuration it reads
// once, when it starts, from the ConfigMap local-path-config, which must be there by then.
func Args(kubeconfig, folder string) ([]string, error) {
	// It takes the configuration itself, too, for the name of a file; what is not called *.json is taken for JSON.
	config, err := json.Marshal(map[string]any{
		"nodePathMap": []any{map[string]any{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": []string{folder}}},
	})
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", folder, err)
	}
	return []string{"start", "--kubeconfig", kubeconfig, "--config", string(config)}, nil
}
