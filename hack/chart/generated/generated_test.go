package generated

import (
	"strings"
	"testing"
	"testing/fstest"
)

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  annotations:
    controller-gen.kubebuilder.io/version: v0.23.0
  name: things.broletto.dev
spec: {}
`

// A repository that has what the generator asks for, and what a test puts in addition.
func repository(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range map[string]string{
		"config/crd/things.yaml":             crd,
		"config/crd/kustomization.yaml":      "kind: Kustomization\n",
		"config/rbac/role.yaml":              "kind: Role\nmetadata:\n  name: broletto-operator\n",
		"config/policies/guard.yaml":         "kind: ValidatingAdmissionPolicy\nmetadata:\n  name: guard\n",
		"config/prometheus/alerts.yaml":      "kind: PrometheusRule\nmetadata:\n  name: alerts\n",
		"config/samples/somewhere/00-x.yaml": "",
	} {
		root[name] = &fstest.MapFile{Data: []byte(content)}
	}
	for name, content := range files {
		root[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return root
}

func TestFiles(t *testing.T) {
	for name, test := range map[string]struct {
		reason    string
		file      string
		content   string
		generated string
		want      string
		unwanted  string
	}{
		"CRD": {
			reason: "a definition can be left out, and is kept", file: "config/crd/things.yaml", content: crd,
			generated: "charts/broletto/templates/crds.yaml",
			want: header + `{{- if .Values.crd.enabled }}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  labels:
    {{- include "broletto.labels" . | nindent 4 }}
  annotations:
    {{- if .Values.crd.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    controller-gen.kubebuilder.io/version: v0.23.0
  name: things.broletto.dev
spec: {}
{{- end }}
`,
		},
		"Braces": {
			reason: "what would be a template's action in a description is text", file: "config/crd/things.yaml",
			content: strings.Replace(crd, "spec: {}", "spec: {description: 'like {{ .Name }}'}", 1), generated: "charts/broletto/templates/crds.yaml",
			want: `'like {{ "{{" }} .Name }}'`, unwanted: "{{ .Name",
		},
		"Alerts": {
			reason: "a release may want alerts, whose own templates are text to Helm; what scrapes is another template's", file: "config/prometheus/alerts.yaml",
			content: "kind: PrometheusRule\nmetadata:\n  name: alerts\n  namespace: broletto-system\nspec: {text: '{{ $value }}'}\n" +
				"---\nkind: ServiceMonitor\nmetadata:\n  name: scrapes\n", generated: "charts/broletto/templates/alerts.yaml",
			want: header + "{{- if .Values.metrics.prometheusRule.enabled }}\n---\nkind: PrometheusRule\nmetadata:\n  labels:\n" + labels + ruleLabels +
				"  name: alerts\n  namespace: \"{{ .Release.Namespace }}\"\nspec: {text: '{{ \"{{\" }} $value }}'}\n{{- end }}\n",
			unwanted: "scrapes",
		},
		"OwnAnnotation": {
			reason: "without annotations the definition gets some", file: "config/crd/things.yaml",
			content: "kind: CustomResourceDefinition\nmetadata:\n  name: things.broletto.dev\n", generated: "charts/broletto/templates/crds.yaml",
			want: "  annotations:\n" + keep + "  name: things.broletto.dev\n",
		},
		"OwnLabel": {
			reason: "labels of its own stay, and there is one list of labels", file: "config/rbac/role.yaml",
			content: "kind: Role\nmetadata:\n  labels:\n    a: b\n  name: x\n", generated: "charts/broletto/templates/rbac.yaml",
			want: "metadata:\n  labels:\n" + labels + "    a: b\n  name: x\n",
		},
		"Namespace": {
			reason: "the release says where the operator is, even in a namespace named 42", file: "config/rbac/role.yaml",
			content: "kind: Role\nmetadata:\n  name: x\n  namespace: broletto-system\n", generated: "charts/broletto/templates/rbac.yaml",
			want: "  namespace: \"{{ .Release.Namespace }}\"\n", unwanted: namespace,
		},
		"Subject": {
			reason: "the subject is the account of the release, the binding keeps its name", file: "config/rbac/role.yaml",
			content:   "kind: RoleBinding\nmetadata:\n  name: broletto-operator\nsubjects:\n  - kind: ServiceAccount\n    name: broletto-operator\n",
			generated: "charts/broletto/templates/rbac.yaml",
			want:      "  name: broletto-operator\nsubjects:\n  - kind: ServiceAccount\n    name: {{ include \"broletto.serviceAccountName\" . | quote }}\n",
		},
		"SubjectInFlowStyle": {
			reason: "people write it so, too", file: "config/rbac/role.yaml",
			content:   "kind: RoleBinding\nmetadata:\n  name: x\nsubjects: [{kind: ServiceAccount, name: broletto-operator, namespace: broletto-system}]\n",
			generated: "charts/broletto/templates/rbac.yaml",
			want:      `{kind: ServiceAccount, name: {{ include "broletto.serviceAccountName" . | quote }}, namespace: "{{ .Release.Namespace }}"}`,
		},
		"Account": {
			reason: "the operator's account has a template of its own", file: "config/rbac/account.yaml",
			content:   "# The account.\nkind: ServiceAccount\nmetadata:\n  name: broletto-operator\n",
			generated: "charts/broletto/templates/rbac.yaml", want: "kind: Role\n", unwanted: "ServiceAccount",
		},
		"CRDList": {
			reason: "all but the list itself", file: "config/crd/a.yaml", content: crd, generated: "config/crd/kustomization.yaml",
			want: "resources:\n  - a.yaml\n  - things.yaml\n",
		},
		"PolicyNames": {
			reason: "the release says who the operator and the platform's people are", file: "config/policies/guard.yaml",
			content:   "kind: ValidatingAdmissionPolicy\nmetadata:\n  name: guard\nspec: {a: 'system:serviceaccount:broletto-system:broletto-operator', b: 'broletto:platform'}\n",
			generated: "charts/broletto/templates/policies.yaml",
			want:      `a: 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "broletto.serviceAccountName" . }}', b: '{{ .Values.platformGroup }}'`,
			unwanted:  namespace,
		},
		"PolicyRevision": {
			reason: "a policy says which revision it is of", file: "config/policies/a.yaml", content: "kind: ValidatingAdmissionPolicy\nmetadata:\n  name: a\n",
			generated: "charts/broletto/templates/policies.yaml", want: "    broletto.dev/policies: r",
		},
		"PolicyList": {
			reason: "the revision is that of the chart", file: "config/policies/a.yaml", content: "kind: ValidatingAdmissionPolicy\nmetadata:\n  name: a\n",
			generated: "config/policies/kustomization.yaml", want: "resources:\n  - a.yaml\n  - guard.yaml\ncommonAnnotations:\n  broletto.dev/policies: r",
		},
		"MutatingPolicy": {
			reason: "not every cluster has the kind", file: "config/policies/guard.yaml", content: "kind: MutatingAdmissionPolicy\nmetadata:\n  name: guard\n",
			generated: "charts/broletto/templates/policies.yaml",
			want:      "{{- if .Capabilities.APIVersions.Has \"admissionregistration.k8s.io/v1/MutatingAdmissionPolicy\" }}\n---\nkind: MutatingAdmissionPolicy\n",
		},
		"SampleList": {
			reason: "samples lie in a folder per consortium", file: "config/samples/ticino/00-x.yaml", generated: "config/samples/kustomization.yaml",
			want: "resources:\n  - somewhere/00-x.yaml\n  - ticino/00-x.yaml\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Files(repository(map[string]string{test.file: test.content}))
			if err != nil {
				t.Fatal(err)
			}
			got := files[test.generated]
			if !strings.Contains(got, test.want) || (test.unwanted != "" && strings.Contains(got, test.unwanted)) {
				t.Errorf("%s; want %q, not %q, in:\n%s", test.reason, test.want, test.unwanted, got)
			}
		})
	}
}

func TestFilesRefuses(t *testing.T) {
	for name, test := range map[string]struct{ reason, file, content, want string }{
		"OtherKind":  {"a Namespace among the definitions is a mistake", "config/crd/x.yaml", "kind: Namespace\nmetadata:\n  name: x\n", "x.yaml holds a Namespace"},
		"FlowStyle":  {"there is nowhere to put labels", "config/rbac/x.yaml", "kind: Role\nmetadata: {name: x}\n", "without kind or name in block style"},
		"NoMetadata": {"a name elsewhere is none", "config/rbac/x.yaml", "kind: Role\nroleRef:\n  name: x\n", "no metadata in block style"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Files(repository(map[string]string{test.file: test.content}))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s; want an error with %q, got %v", test.reason, test.want, err)
			}
		})
	}
}
