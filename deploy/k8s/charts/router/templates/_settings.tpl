{{/* What the router is told beside what every service is. */}}

{{- define "router.env" }}
- name: ASAHI_BILLING_TARGET
  value: {{ include "asahi.target" (dict "root" . "service" "billing") }}
- name: ASAHI_CACHE_TARGET
  value: {{ include "asahi.target" (dict "root" . "service" "cache") }}
{{- with .Values.providers.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "OPENAI_API_KEY" "secret" . "key" "openai" "optional" true) }}
{{ include "asahi.env.secret" (dict "name" "ANTHROPIC_API_KEY" "secret" . "key" "anthropic" "optional" true) }}
{{- end }}
{{- with .Values.providers.openaiBaseUrl }}
- name: OPENAI_BASE_URL
  value: {{ . | quote }}
{{- end }}
- name: ASAHI_OPENAI_RESPONSES
  value: {{ .Values.providers.openaiResponses | quote }}
{{- with .Values.providers.anthropicBaseUrl }}
- name: ANTHROPIC_BASE_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.providers.simulatorUrl }}
- name: ASAHI_SIMULATOR_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.providers.more }}
- name: ASAHI_PROVIDERS_FILE
  value: /etc/asahi/files/providers.yaml
{{- end }}
{{- if .Values.models }}
- name: ASAHI_CATALOG_FILE
  value: /etc/asahi/files/models.yaml
{{- end }}
{{- with .Values.baselineModel }}
- name: ASAHI_BASELINE_MODEL
  value: {{ . | quote }}
{{- end }}
- name: ASAHI_RETRIES
  value: {{ .Values.retries | quote }}
- name: ASAHI_BREAKER_FAILURES
  value: {{ .Values.breakerFailures | quote }}
- name: ASAHI_OUTCOMES_IN_MEMORY
  value: {{ .Values.outcomesInMemory | int | quote }}
{{- end }}

{{- define "router.dataSize" }}16Mi{{ end }}

{{- define "router.files" -}}
{{- if .Values.providers.more }}
providers.yaml: |
  providers:
    {{- toYaml .Values.providers.more | nindent 4 }}
{{- end }}
{{- if .Values.models }}
models.yaml: |
  {{- toYaml .Values.models | nindent 2 }}
{{- end }}
{{- end }}

{{- define "router.volumes" }}
{{- if include "router.files" . }}
- name: files
  configMap:
    name: {{ include "asahi.name" . }}
{{- end }}
{{- end }}

{{- define "router.mounts" }}
{{- if include "router.files" . }}
- name: files
  mountPath: /etc/asahi/files
  readOnly: true
{{- end }}
{{- end }}

{{- define "router.egress" -}}
{{- include "asahi.network.public" .Values.providers }}
{{- end }}
