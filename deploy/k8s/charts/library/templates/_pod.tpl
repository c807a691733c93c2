{{/* The pod: restricted, without a token, with probes that look at no store. */}}

{{- define "asahi.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "asahi.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "asahi.env.secret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end }}

{{- define "asahi.env.database" -}}
{{- if include "asahi.external" . }}
{{ include "asahi.env.secret" (dict "name" "DATABASE_URL" "secret" .Values.database.existingSecret "key" .Values.database.key) }}
- name: ASAHI_MIGRATE_AT_START
  value: "false"
{{- end }}
{{- end }}

{{- define "asahi.env.identity" -}}
{{- if eq .Values.identity.mode "certificates" }}
- name: ASAHI_TLS_CERTIFICATE
  value: /etc/asahi/tls/tls.crt
- name: ASAHI_TLS_KEY
  value: /etc/asahi/tls/tls.key
- name: ASAHI_TLS_CA
  value: /etc/asahi/tls/ca.crt
{{- else }}
{{- if has .Chart.Name (list "edge" "router") }}
{{ include "asahi.env.secret" (dict "name" "ASAHI_SERVICE_TOKEN" "secret" .Values.identity.token.existingSecret "key" .Chart.Name) }}
{{- end }}
{{- if ne .Chart.Name "edge" }}
{{ include "asahi.env.secret" (dict "name" "ASAHI_ACCEPTED_SERVICE_TOKENS" "secret" .Values.identity.token.existingSecret "key" "accepted") }}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings are in the pod's own description, not in a ConfigMap: a rollout that stops half-way leaves old pods as
     they were, and a rollback brings their settings back. */}}
{{- define "asahi.env" -}}
- name: ASAHI_GRPC_ADDRESS
  value: 0.0.0.0:{{ include "asahi.port" .Chart.Name }}
- name: ASAHI_HEALTH_ADDRESS
  value: 0.0.0.0:{{ include "asahi.port" "health" }}
- name: ASAHI_METRICS_ADDRESS
  value: 0.0.0.0:{{ include "asahi.port" "metrics" }}
- name: ASAHI_DATA_DIR
  value: /var/lib/asahi
- name: ASAHI_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: ASAHI_SHUTDOWN_GRACE_SECONDS
  value: {{ include "asahi.grace" . | quote }}
{{- with .Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: ASAHI_TRACE_RATIO
  value: {{ $.Values.tracing.ratio | quote }}
{{- end }}
{{- include "asahi.env.identity" . }}
{{- include "asahi.env.database" . }}
{{- include (printf "%s.env" .Chart.Name) . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "asahi.probe" -}}
{{- if eq .root.Chart.Name "edge" }}
httpGet:
  path: {{ .path }}
  port: http
  {{- if .root.Values.tls.existingSecret }}
  scheme: HTTPS
  {{- end }}
{{- else }}
grpc:
  port: {{ include "asahi.port" "health" }}
{{- end }}
{{ toYaml .times }}
{{- end }}

{{- define "asahi.ports" -}}
{{- if eq .Chart.Name "edge" }}
- name: http
  containerPort: {{ include "asahi.port" "http" }}
{{- end }}
- name: grpc
  containerPort: {{ include "asahi.port" .Chart.Name }}
- name: health
  containerPort: {{ include "asahi.port" "health" }}
- name: metrics
  containerPort: {{ include "asahi.port" "metrics" }}
{{- end }}

{{/* Waits until the Job has brought the database up; changes nothing. */}}
{{- define "asahi.waiting" -}}
- name: schema
  image: {{ include "asahi.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, -m, asahi_{{ .Chart.Name }}.migrate, --wait, --seconds, {{ .Values.migration.waitSeconds | quote }}]
  env:
    - name: ASAHI_DATA_DIR
      value: /var/lib/asahi
    {{- include "asahi.env.database" . | trim | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    {{- include "asahi.containerSecurity" . | nindent 4 }}
  resources:
    {{- toYaml .Values.migration.resources | nindent 4 }}
  volumeMounts:
    - name: data
      mountPath: /var/lib/asahi
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "asahi.volumes" -}}
{{- if eq .Values.identity.mode "certificates" }}
- name: tls
  secret:
    secretName: {{ include "asahi.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if not (include "asahi.stateful" .) }}
- name: data
  {{- if and (include "asahi.embedded" .) .Values.database.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.database.persistence.existingClaim | default (printf "%s-data" (include "asahi.name" .)) }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ include (printf "%s.dataSize" .Chart.Name) . }}
  {{- end }}
{{- end }}
{{- include (printf "%s.volumes" .Chart.Name) . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "asahi.mounts" -}}
{{- if eq .Values.identity.mode "certificates" }}
- name: tls
  mountPath: /etc/asahi/tls
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/asahi
{{- include (printf "%s.mounts" .Chart.Name) . }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "asahi.pod" -}}
metadata:
  labels:
    {{- include "asahi.podLabels" (dict "root" . "component" "server") | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/files: {{ include (printf "%s.files" .Chart.Name) . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "asahi.serviceAccount" . }}
  automountServiceAccountToken: false
  # Kubernetes would set variables such as ASAHI_AUTH_PORT, in the midst of the settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (int .Values.preStopSeconds) (include "asahi.grace" . | int) 20 }}
  securityContext:
    {{- include "asahi.podSecurity" . | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range $key := .Values.topologySpread.keys }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "asahi.selector" $ | nindent 10 }}
      matchLabelKeys: [{{ ternary "controller-revision-hash" "pod-template-hash" (eq (include "asahi.stateful" $) "yes") }}]
    {{- end }}
  {{- end }}
  {{- if or (include "asahi.external" .) .Values.initContainers }}
  initContainers:
    {{- if include "asahi.external" . }}
    {{- include "asahi.waiting" . | nindent 4 }}
    {{- end }}
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .Chart.Name }}
      image: {{ include "asahi.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      ports:
        {{- include "asahi.ports" . | trim | nindent 8 }}
      env:
        {{- include "asahi.env" . | trim | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      startupProbe:
        {{- include "asahi.probe" (dict "root" . "path" "/health/live" "times" .Values.probes.startup) | trim | nindent 8 }}
      readinessProbe:
        {{- include "asahi.probe" (dict "root" . "path" "/health/ready" "times" .Values.probes.readiness) | trim | nindent 8 }}
      livenessProbe:
        {{- include "asahi.probe" (dict "root" . "path" "/health/live" "times" .Values.probes.liveness) | trim | nindent 8 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- include "asahi.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "asahi.mounts" . | trim | nindent 8 }}
    {{- with .Values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "asahi.volumes" . | trim | nindent 4 }}
{{- end }}
