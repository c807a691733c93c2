{{/* The certificate by which other services know this one: given, or kept by cert-manager. */}}

{{- define "asahi.tlsSecret" -}}
{{- if .Values.identity.certificates.certManager.enabled }}{{ include "asahi.name" . }}-tls{{ else }}{{ .Values.identity.certificates.existingSecret }}{{ end -}}
{{- end }}

{{- define "asahi.certificate" -}}
{{- if and (eq .Values.identity.mode "certificates") .Values.identity.certificates.certManager.enabled -}}
{{- with .Values.identity.certificates.certManager -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "asahi.metadata" (dict "root" $) | nindent 2 }}
spec:
  secretName: {{ include "asahi.tlsSecret" $ }}
  dnsNames: [{{ $.Chart.Name }}.asahi.internal]
  usages: [digital signature, server auth, client auth]
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  duration: {{ .duration }}
  renewBefore: {{ .renewBefore }}
  issuerRef:
    name: {{ .issuer.name }}
    kind: {{ .issuer.kind }}
    group: cert-manager.io
{{- end }}
{{- end }}
{{- end }}
