{{/* What the cache is told beside what every service is. */}}

{{- define "cache.env" }}
{{- with .Values.redis.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "REDIS_URL" "secret" . "key" $.Values.redis.key) }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: ASAHI_CACHE_ADVERTISED_ADDRESS
  value: $(POD_IP):{{ include "asahi.port" "cache" }}
{{- end }}
- name: ASAHI_CACHE_MAX_BYTES
  value: {{ .Values.entries.maxBytes | int64 | quote }}
- name: ASAHI_CACHE_ORGANIZATION_SHARE
  value: {{ .Values.entries.organizationShare | quote }}
- name: ASAHI_CACHE_MAX_ENTRY_SHARE
  value: {{ .Values.entries.maxEntryShare | quote }}
- name: ASAHI_CACHE_TTL_SECONDS
  value: {{ .Values.entries.ttlSeconds | int64 | quote }}
- name: ASAHI_CACHE_FLIGHT_SECONDS
  value: {{ .Values.flights.seconds | int64 | quote }}
- name: ASAHI_CACHE_FLIGHT_BYTES
  value: {{ .Values.flights.bytes | int64 | quote }}
- name: ASAHI_EMBEDDING_THREADS
  value: {{ .Values.embedding.threads | int64 | quote }}
{{- with .Values.qdrant.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "QDRANT_URL" "secret" . "key" $.Values.qdrant.key) }}
{{- with $.Values.qdrant.apiKeyKey }}
{{ include "asahi.env.secret" (dict "name" "QDRANT_API_KEY" "secret" $.Values.qdrant.existingSecret "key" .) }}
{{- end }}
{{- end }}
- name: ASAHI_EMBEDDING_QUEUE
  value: {{ .Values.embedding.queue | int64 | quote }}
{{- with .Values.evidenceSharedBy }}
- name: ASAHI_EVIDENCE_SHARED_BY
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{/* The database, where it is embedded, and stored questions. */}}
{{- define "cache.dataSize" }}{{ .Values.qdrant.room }}{{ end }}
{{- define "cache.volumes" }}{{ end }}
{{- define "cache.mounts" }}{{ end }}
{{- define "cache.files" }}{{ end }}

{{- define "cache.egress" -}}
{{- if .Values.qdrant.existingSecret }}
{{- include "asahi.network.outside" .Values.qdrant }}
{{- end }}
{{- if .Values.redis.existingSecret }}
{{- include "asahi.network.public" .Values.redis }}
{{- end }}
{{- end }}
