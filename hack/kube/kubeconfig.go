package kube

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
)

var kubeconfigTemplate = template.Must(template.New("kubeconfig").Funcs(template.FuncMap{
	"base64": base64.StdEncoding.EncodeToString,
	"quote":  strconv.Quote, // user names have colons in them
}).Parse(`apiVersion: v1
kind: Config
clusters:
- name: broletto
  cluster:
    server: {{quote .Server}}
    certificate-authority-data: {{base64 .CA}}
users:
- name: {{quote .User}}
  user:
    client-certificate-data: {{base64 .Cert}}
    client-key-data: {{base64 .Key}}
contexts:
- name: broletto
  context:
    cluster: broletto
    user: {{quote .User}}
current-context: broletto
`))

// Kubeconfig makes a kubeconfig, in YAML and complete in itself, of a user in groups, for the control plane whose data folder is dir and
// that is reached at server. It need not run, and need not be ours: whoever reads the folder may do everything there.
func Kubeconfig(dir, server, user string, groups ...string) ([]byte, error) {
	pki := filepath.Join(dir, "pki")
	if !exists(filepath.Join(pki, "ca.crt")) {
		return nil, &Error{Object: "data folder " + dir, Cause: os.ErrNotExist, WayOut: "start a control plane there first"}
	}
	a, err := loadAuthority(pki)
	if err != nil {
		return nil, err
	}
	cert, key, err := a.client(user, groups...)
	if err != nil {
		return nil, err
	}
	return kubeconfig{Server: server, User: user, CA: a.pem, Cert: cert, Key: key}.yaml()
}

// kubeconfig is all that a client needs to log in, in one file.
type kubeconfig struct {
	Server, User  string
	CA, Cert, Key []byte
}

func (k kubeconfig) yaml() ([]byte, error) {
	var b bytes.Buffer
	err := kubeconfigTemplate.Execute(&b, k)
	return b.Bytes(), err
}
