package runner

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/broletto/broletto/operator/run"
)

// Engines and providers are Go programs that run for a second: most of what their collectors would free is never missed in a pod that has
// 512 MiB. Above goMemory each of them collects as often as it must.
const (
	goCollect = "400"
	goMemory  = "160MiB"
)

// environment is all that the stack's code finds in its environment: nothing of the runner's own but where the API server is.
func (s *scope) environment() (map[string]string, error) {
	home := filepath.Join(s.Work, homeFolder)
	env := map[string]string{
		"PATH": s.Path, "HOME": home, "USER": "runner", "TMPDIR": filepath.Join(s.Work, tmpFolder), run.EnvAccount: s.Account,
		"GOGC": goCollect, "GOMEMLIMIT": goMemory,
	}
	if s.Host == "" {
		return env, nil
	}
	namespace := s.order.Namespace
	if data, err := os.ReadFile(filepath.Join(s.Account, "namespace")); err == nil && len(data) > 0 {
		namespace = strings.TrimSpace(string(data))
	}
	config := filepath.Join(home, "kubeconfig")
	if err := os.WriteFile(config, kubeconfig(s.Host, s.Port, s.Account, namespace), 0o600); err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of the stack's code: %w", err)
	}
	maps.Copy(env, map[string]string{
		"KUBECONFIG": config, "KUBE_CONFIG": config, "KUBE_CONFIG_PATH": config, "KUBE_NAMESPACE": namespace,
		"KUBERNETES_SERVICE_HOST": s.Host, "KUBERNETES_SERVICE_PORT": s.Port,
	})
	return env, nil
}

// kubeconfig speaks of the pod's own account. It names files, so that a token is renewed, and is JSON, which is YAML.
func kubeconfig(host, port, account, namespace string) []byte {
	type object = map[string]any
	named := func(key string, value object) []object { return []object{{"name": "workspace", key: value}} }
	data, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "workspace",
		"clusters": named("cluster", object{
			"server": "https://" + net.JoinHostPort(host, port), "certificate-authority": filepath.Join(account, "ca.crt"),
		}),
		"users":    named("user", object{"tokenFile": filepath.Join(account, "token")}),
		"contexts": named("context", object{"cluster": "workspace", "user": "workspace", "namespace": namespace}),
	}, "", "  ")
	if err != nil {
		panic("runner: texts cannot be encoded: " + err.Error())
	}
	return data
}
