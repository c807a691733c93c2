{{/* Headless: callers find every ready pod and share their calls among them (round_robin); a ClusterIP would send all
     calls of one connection to one pod. */}}

{{- define "asahi.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "asahi.metadata" (dict "root" .) | nindent 2 }}
  {{- with .Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  clusterIP: None
  selector:
    {{- include "asahi.selector" . | nindent 4 }}
  ports:
    - name: grpc
      port: {{ include "asahi.port" .Chart.Name }}
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    - name: metrics
      port: {{ include "asahi.port" "metrics" }}
      targetPort: metrics
{{- end }}
