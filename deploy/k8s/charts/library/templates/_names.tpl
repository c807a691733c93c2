{{/* Names, labels and ports. A port is no value: the policies of callers and the probes depend on it. */}}

{{- define "asahi.name" -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (eq .Release.Name .Chart.Name)) -}}
{{- if gt (len $name) 40 }}{{ fail (printf "the name %q is longer than 40 characters: choose a shorter release name, or set fullnameOverride" $name) }}{{ end -}}
{{- $name -}}
{{- end }}

{{- define "asahi.installation" -}}
{{ .Values.installation | default .Release.Name }}
{{- end }}

{{/* What selects the pods that serve, and no pod of a Job or a test. */}}
{{- define "asahi.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "asahi.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: {{ include "asahi.installation" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Nothing that changes with the chart alone: that would restart pods. */}}
{{- define "asahi.podLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: {{ include "asahi.installation" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "asahi.metadata" -}}
name: {{ .name | default (include "asahi.name" .root) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "asahi.labels" .root | nindent 2 }}
{{- end }}

{{/* The pods of a service of this installation, whichever release they are of: (dict "root" $ "service" "billing") */}}
{{- define "asahi.peer" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: {{ .service }}
    app.kubernetes.io/part-of: {{ include "asahi.installation" .root }}
    app.kubernetes.io/component: server
{{- end }}

{{- define "asahi.port" -}}
{{- get (dict "auth" 50051 "cache" 50052 "router" 50053 "billing" 50054 "edge" 50055 "http" 8000 "health" 50060 "metrics" 9090) . -}}
{{- end }}

{{/* Where another service is: as the values say, else the one of this release. */}}
{{- define "asahi.target" -}}
{{- $given := get (.root.Values.targets | default dict) .service -}}
{{- $given | default (printf "dns:///%s-%s.%s.svc:%s" .root.Release.Name .service .root.Release.Namespace (include "asahi.port" .service)) -}}
{{- end }}

{{- define "asahi.image" -}}
{{- $global := (.Values.global | default dict).image | default dict -}}
{{- $registry := .Values.image.registry | default $global.registry -}}
{{- $repository := .Values.image.repository -}}
{{- if $registry }}{{ $repository = printf "%s/%s" $registry $repository }}{{ end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default $global.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "asahi.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "asahi.name" .) }}{{ else }}{{ .Values.serviceAccount.name }}{{ end -}}
{{- end }}

{{/* "yes" where the service keeps its truth in a file of its own: one process, no migration apart. */}}
{{- define "asahi.embedded" -}}
{{- if (.Values.database | default dict).embedded }}yes{{ end -}}
{{- end }}

{{/* "yes" where there is a database outside. */}}
{{- define "asahi.external" -}}
{{- if and .Values.database (not .Values.database.embedded) }}yes{{ end -}}
{{- end }}

{{- define "asahi.autoscaled" -}}
{{- if (.Values.autoscaling | default dict).enabled }}yes{{ end -}}
{{- end }}

{{- define "asahi.stateful" -}}
{{- if (.Values.spool | default dict).persistent }}yes{{ end -}}
{{- end }}

{{/* Seconds that calls under way have; a stream may take as long as the longest request. */}}
{{- define "asahi.grace" -}}
{{- .Values.requestTimeoutSeconds | default .Values.shutdownGraceSeconds | int -}}
{{- end }}
