package embedded

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// WriteKubeconfig writes who one is, and where, to a kubeconfig that needs no other file, readable by its owner only. namespace is that of
// its context; empty: default.
func WriteKubeconfig(path string, cfg *rest.Config, namespace string) error {
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["broletto"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	kubeconfig.AuthInfos["broletto"] = &clientcmdapi.AuthInfo{
		Token: cfg.BearerToken, ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData,
		Impersonate: cfg.Impersonate.UserName, ImpersonateGroups: cfg.Impersonate.Groups,
	}
	kubeconfig.Contexts["broletto"] = &clientcmdapi.Context{Cluster: "broletto", AuthInfo: "broletto", Namespace: namespace}
	kubeconfig.CurrentContext = "broletto"
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
