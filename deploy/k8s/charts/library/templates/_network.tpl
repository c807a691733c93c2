{{/* Who may connect: what `MAY_CALL` of asahi_core.rpc.identity says, by pod; everything else is refused.
     (dict "root" $ "callers" (list …) "calls" (list …)); kubelet's probes come from the node and always may. */}}

{{- define "asahi.network.dns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* (dict "peers" list "port" number): no peers means any address. */}}
{{- define "asahi.network.outside" -}}
- ports:
    - {protocol: TCP, port: {{ .port }}}
  {{- with .peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* (dict "peers" list "ports" list): no peers means any address. */}}
{{- define "asahi.network.public" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "asahi.network" -}}
{{- $root := .root -}}
{{- with .root -}}
{{- if .Values.networkPolicy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "asahi.metadata" (dict "root" .) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "asahi.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if eq .Chart.Name "edge" }}
    - ports:
        - {protocol: TCP, port: {{ include "asahi.port" "http" }}}
        - {protocol: TCP, port: {{ include "asahi.port" "edge" }}}
      {{- with .Values.networkPolicy.clients }}
      from:
        {{- toYaml . | nindent 8 }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/instance: {{ $root.Release.Name }}
              app.kubernetes.io/component: test
      {{- end }}
    {{- end }}
    {{- range $caller := $.callers }}
    - from:
        - {{ include "asahi.peer" (dict "root" $root "service" $caller) | indent 10 | trim }}
      ports:
        - {protocol: TCP, port: {{ include "asahi.port" $root.Chart.Name }}}
    {{- end }}
    {{- with .Values.networkPolicy.metricsFrom }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - {protocol: TCP, port: {{ include "asahi.port" "metrics" }}}
    {{- end }}
    {{- with .Values.networkPolicy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    {{- include "asahi.network.dns" . | nindent 4 }}
    {{- range $called := $.calls }}
    - to:
        - {{ include "asahi.peer" (dict "root" $root "service" $called) | indent 10 | trim }}
      ports:
        - {protocol: TCP, port: {{ include "asahi.port" $called }}}
    {{- end }}
    {{- if include "asahi.external" . }}
    {{- include "asahi.network.outside" .Values.database | nindent 4 }}
    {{- end }}
    {{- if .Values.tracing.endpoint }}
    {{- include "asahi.network.outside" .Values.tracing | nindent 4 }}
    {{- end }}
    {{- with include (printf "%s.egress" .Chart.Name) . }}
    {{- . | trim | nindent 4 }}
    {{- end }}
    {{- with .Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
