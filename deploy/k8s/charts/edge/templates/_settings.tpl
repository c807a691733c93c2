{{/* What the edge is told beside what every service is. */}}

{{- define "edge.env" }}
- name: ASAHI_HTTP_ADDRESS
  value: 0.0.0.0:{{ include "asahi.port" "http" }}
{{- if .Values.tls.existingSecret }}
- name: ASAHI_PUBLIC_TLS_CERTIFICATE
  value: /etc/asahi/public-tls/tls.crt
- name: ASAHI_PUBLIC_TLS_KEY
  value: /etc/asahi/public-tls/tls.key
{{- end }}
{{- range $service := list "auth" "cache" "router" "billing" }}
- name: ASAHI_{{ upper $service }}_TARGET
  value: {{ include "asahi.target" (dict "root" $ "service" $service) }}
{{- end }}
{{- with .Values.adminSecret.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "ASAHI_ADMIN_SECRET" "secret" . "key" $.Values.adminSecret.key) }}
{{- end }}
{{- with .Values.redis.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "REDIS_URL" "secret" . "key" $.Values.redis.key) }}
{{- end }}
- name: ASAHI_REQUEST_TIMEOUT_SECONDS
  value: {{ .Values.requestTimeoutSeconds | quote }}
- name: ASAHI_CONNECTION_SECONDS
  value: {{ .Values.connectionSeconds | quote }}
- name: ASAHI_SPOOL_PERSISTENT
  value: {{ .Values.spool.persistent | quote }}
- name: ASAHI_SPOOL_MAX_BYTES
  value: {{ .Values.spool.maxBytes | int64 | quote }}
- name: ASAHI_SPOOL_SYNC
  value: {{ .Values.spool.sync }}
- name: ASAHI_NEAR_CACHE_BYTES
  value: {{ .Values.nearCacheBytes | int64 | quote }}
- name: ASAHI_MAX_CONCURRENT
  value: {{ .Values.limits.maxConcurrent | quote }}
- name: ASAHI_MAX_BODY_BYTES
  value: {{ .Values.limits.maxBodyBytes | int64 | quote }}
- name: ASAHI_ALL_BODIES_BYTES
  value: {{ .Values.limits.allBodiesBytes | int64 | quote }}
- name: ASAHI_SHADOW_QUESTIONS
  value: {{ .Values.limits.shadowQuestions | quote }}
- name: ASAHI_SIGNUPS_PER_MINUTE
  value: {{ .Values.limits.signupsPerMinute | quote }}
- name: ASAHI_UNKNOWN_KEYS_PER_MINUTE
  value: {{ .Values.limits.unknownKeysPerMinute | quote }}
{{- with .Values.trustedProxies }}
- name: ASAHI_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{/* The spool and what its files take beside. */}}
{{- define "edge.dataSize" }}{{ add (div (int64 .Values.spool.maxBytes) 1048576) 64 }}Mi{{ end }}

{{/* What callers are shown. */}}
{{- define "edge.scheme" }}{{ ternary "https" "http" (ne .Values.tls.existingSecret "") }}{{ end }}
{{- define "edge.volumes" }}
{{- with .Values.tls.existingSecret }}
- name: public-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- define "edge.mounts" }}
{{- if .Values.tls.existingSecret }}
- name: public-tls
  mountPath: /etc/asahi/public-tls
  readOnly: true
{{- end }}
{{- end }}

{{- define "edge.files" }}{{ end }}

{{- define "edge.egress" -}}
{{- if .Values.redis.existingSecret }}
{{- include "asahi.network.public" .Values.redis }}
{{- end }}
{{- end }}
