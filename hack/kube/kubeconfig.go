package kube

import (
	"bytes"
	"encoding/base64"
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
