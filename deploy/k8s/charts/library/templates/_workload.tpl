{{/* What runs the pods, and what keeps enough of them. */}}

{{- define "asahi.workload" -}}
{{- $stateful := include "asahi.stateful" . -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (eq $stateful "yes") }}
metadata:
  {{- include "asahi.metadata" (dict "root" .) | nindent 2 }}
spec:
  {{- if not (include "asahi.autoscaled" .) }}
  replicas: {{ ternary 1 (int .Values.replicas) (eq (include "asahi.embedded" .) "yes") }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "asahi.selector" . | nindent 6 }}
  {{- if $stateful }}
  serviceName: {{ include "asahi.name" . }}-pods
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  # What a removed replica had not delivered stays, for the replica that takes its place.
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "asahi.selector" . | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .Values.spool.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.spool.size }}
  {{- else }}
  progressDeadlineSeconds: 600
  strategy:
    {{- if include "asahi.embedded" . }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ .Values.maxSurge }}
      maxUnavailable: 0
    {{- end }}
  {{- end }}
  minReadySeconds: {{ .Values.minReadySeconds }}
  template:
    {{- include "asahi.pod" . | nindent 4 }}
{{- if and (include "asahi.embedded" .) .Values.database.persistence.enabled (not .Values.database.persistence.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "asahi.metadata" (dict "root" . "name" (printf "%s-data" (include "asahi.name" .))) | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with .Values.database.persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.database.persistence.size }}
{{- end }}
{{- if .Values.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "asahi.metadata" (dict "root" . "name" (include "asahi.serviceAccount" .)) | nindent 2 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- if .Values.podDisruptionBudget.enabled }}
---
# One at a time: a drain never waits for ever, whatever the number of replicas.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "asahi.metadata" (dict "root" .) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "asahi.selector" . | nindent 6 }}
{{- end }}
{{- if include "asahi.autoscaled" . }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "asahi.metadata" (dict "root" .) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ ternary "StatefulSet" "Deployment" (eq $stateful "yes") }}
    name: {{ include "asahi.name" . }}
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    - type: ContainerResource
      containerResource:
        name: cpu
        container: {{ .Chart.Name }}
        target:
          type: Utilization
          averageUtilization: {{ .Values.autoscaling.cpuUtilization }}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
    # A replica that leaves is waited for until its streams end; so few at a time, and not for a short calm.
    scaleDown:
      stabilizationWindowSeconds: 300
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end }}
{{- end }}
