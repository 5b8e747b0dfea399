package security

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// withRoutes is a cluster that serves the resource kinds of the Gateway API, whose routes tenants may write.
func withRoutes(t *testing.T) {
	t.Helper()
	if err := gateway(); err != nil {
		t.Fatal("installing the Gateway API: ", err)
	}
}

// gateway installs what users install from the Gateway API's standard channel, in the version that the module test/gateway requires.
var gateway = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	folder, err := gatewayModule(ctx)
	if err != nil {
		return err
	}
	admin, err := client.New(cluster.Admin(), client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return err
	}
	applied, err := embedded.Apply(ctx, admin, os.DirFS(filepath.Join(folder, "config", "crd")), "standard")
	if err != nil {
		return err
	}
	return listed(ctx, applied)
})

// gatewayModule is the folder of the module, which the go command fetches, if need be, and checks against go.sum.
func gatewayModule(ctx context.Context) (string, error) {
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", "sigs.k8s.io/gateway-api")
	download.Dir, download.Stderr = filepath.Join("..", "gateway"), os.Stderr
	out, err := download.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Error != "" {
		return "", fmt.Errorf("go mod download: %w: %s", err, module.Error)
	}
	return module.Dir, err
}

// listed waits until discovery lists all that the resource kinds among these objects serve.
func listed(ctx context.Context, objects []*unstructured.Unstructured) error {
	api, err := discovery.NewDiscoveryClientForConfig(cluster.Admin())
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	for _, o := range objects {
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
		versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
		for _, v := range versions {
			if v := v.(map[string]any); v["served"] == true {
				missing[path.Join(group, v["name"].(string), plural)] = true
			}
		}
	}
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		_, lists, err := api.ServerGroupsAndResources()
		for _, list := range lists {
			for _, r := range list.APIResources {
				delete(missing, path.Join(list.GroupVersion, r.Name))
			}
		}
		return len(missing) == 0, err
	})
	if err != nil {
		return fmt.Errorf("waiting for discovery to list %v: %w", missing, err)
	}
	return nil
}
