{{/* What auth is told beside what every service is. */}}

{{- define "auth.env" }}
- name: ASAHI_SIGNUP
  value: {{ .Values.signup }}
{{- with .Values.auditKey.existingSecret }}
{{ include "asahi.env.secret" (dict "name" "ASAHI_AUDIT_KEY" "secret" . "key" $.Values.auditKey.key) }}
{{- end }}
{{- with .Values.oidc }}
{{- if .issuer }}
- name: ASAHI_OIDC_ISSUER
  value: {{ .issuer | quote }}
- name: ASAHI_OIDC_AUDIENCE
  value: {{ .audience | quote }}
- name: ASAHI_OIDC_ORGANIZATION_CLAIM
  value: {{ .organizationClaim | quote }}
- name: ASAHI_OIDC_SCOPES_CLAIM
  value: {{ .scopesClaim | quote }}
- name: ASAHI_OIDC_SCOPES
  value: {{ .scopes | toJson | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "auth.dataSize" }}256Mi{{ end }}
{{- define "auth.volumes" }}{{ end }}
{{- define "auth.mounts" }}{{ end }}
{{- define "auth.files" }}{{ end }}

{{- define "auth.egress" -}}
{{- if .Values.oidc.issuer }}
{{- include "asahi.network.outside" (dict "peers" .Values.oidc.peers "port" .Values.oidc.port) }}
{{- end }}
{{- end }}
