{{/* Brings an external database to this version's schema. No hook: helm, Argo CD and kubectl all make it like any other
     object, and pods wait in an init container until it is done. Its name changes with what it does, since a Job's
     template cannot be changed. */}}

{{- define "asahi.migration.spec" -}}
restartPolicy: Never
serviceAccountName: {{ include "asahi.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "asahi.podSecurity" . | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: migrate
    image: {{ include "asahi.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [python, -m, asahi_{{ .Chart.Name }}.migrate, --seconds, {{ .Values.migration.waitSeconds | quote }}]
    env:
      - name: ASAHI_DATA_DIR
        value: /var/lib/asahi
      {{- include "asahi.env.database" . | trim | nindent 6 }}
      {{- with .Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    securityContext:
      {{- include "asahi.containerSecurity" . | nindent 6 }}
    resources:
      {{- toYaml .Values.migration.resources | nindent 6 }}
    volumeMounts:
      - name: data
        mountPath: /var/lib/asahi
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: data
    emptyDir:
      sizeLimit: 16Mi
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "asahi.migration" -}}
{{- if include "asahi.external" . -}}
{{- $spec := include "asahi.migration.spec" . -}}
{{- $name := printf "%s-migrate-%s" (include "asahi.name" .) (sha256sum $spec | trunc 8) -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "asahi.metadata" (dict "root" . "name" $name) | nindent 2 }}
spec:
  backoffLimit: {{ .Values.migration.retries }}
  template:
    metadata:
      labels:
        {{- include "asahi.podLabels" (dict "root" . "component" "migration") | nindent 8 }}
    spec:
      {{- $spec | nindent 6 }}
{{- if .Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "asahi.metadata" (dict "root" . "name" (printf "%s-migrate" (include "asahi.name" .))) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .Chart.Name }}
      app.kubernetes.io/instance: {{ .Release.Name }}
      app.kubernetes.io/component: migration
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "asahi.network.dns" . | nindent 4 }}
    {{- include "asahi.network.outside" .Values.database | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
