{{/* What billing is told beside what every service is. */}}

{{- define "billing.env" }}
- name: ASAHI_BILLING_QUEUE_RECORDS
  value: {{ .Values.queueRecords | int64 | quote }}
- name: ASAHI_BILLING_READ_SECONDS
  value: {{ .Values.readSeconds | quote }}
- name: ASAHI_BILLING_CHECK_SECONDS
  value: {{ .Values.checkSeconds | int64 | quote }}
{{- with .Values.webhooks.targets }}
- name: ASAHI_ALERT_TARGETS
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{- define "billing.dataSize" }}16Mi{{ end }}
{{- define "billing.volumes" }}{{ end }}
{{- define "billing.mounts" }}{{ end }}
{{- define "billing.files" }}{{ end }}

{{- define "billing.egress" -}}
{{- include "asahi.network.public" .Values.webhooks }}
{{- end }}
