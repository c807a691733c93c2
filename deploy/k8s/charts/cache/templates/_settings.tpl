{{/* What the cache is told beside what every service is. */}}

{{- define "cache.env" }}
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
- name: ASAHI_EMBEDDING_QUEUE
  value: {{ .Values.embedding.queue | int64 | quote }}
{{- end }}

{{- define "cache.dataSize" }}16Mi{{ end }}
{{- define "cache.volumes" }}{{ end }}
{{- define "cache.mounts" }}{{ end }}
{{- define "cache.files" }}{{ end }}
{{- define "cache.egress" }}{{ end }}
