{{/* What a selector matches: the same pods as those of config/manager, so either can take over from the other. */}}
{{- define "broletto.selector" -}}
app.kubernetes.io/name: broletto
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of every object. */}}
{{- define "broletto.labels" -}}
app.kubernetes.io/name: broletto
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Metadata of the objects that are the operator itself. */}}
{{- define "broletto.metadata" -}}
name: broletto-operator
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "broletto.labels" . | nindent 2 }}
  app.kubernetes.io/component: operator
{{- end }}

{{- define "broletto.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default "broletto-operator" }}
{{- end }}

{{/* An image in full: (list . values-of-the-image) */}}
{{- define "broletto.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $root.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}
