{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "weir.labels" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* What selects the agents' pods; never changes, for a DaemonSet's selector cannot. */}}
{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
k8s-app: weir
{{- end }}

{{- define "weir.serviceAccount" -}}
{{ .Values.serviceAccount.create | ternary .Values.serviceAccount.name (.Values.serviceAccount.name | default "default") }}
{{- end }}

{{- /* The address on which the agent listens for others: all of the family that the cluster has. */}}
{{- define "weir.anyAddress" -}}
{{ .Values.ipv4.enabled | ternary "0.0.0.0" "[::]" }}
{{- end }}

{{- define "weir.exportFile" -}}
{{ .Values.hubble.export.static.filePath | default (printf "%s/hubble/events.log" .Values.daemon.runPath) }}
{{- end }}

{{- define "weir.hubbleTls" -}}
{{- if and .Values.hubble.enabled .Values.hubble.tls.enabled }}true{{ end }}
{{- end }}

{{- /* Where pods that come before the network find the API server. */}}
{{- define "weir.apiServerEnv" -}}
{{- with .Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.k8sServicePort | default 6443 | quote }}
{{- end }}
{{- end }}

{{- /* TCP ports of the node that the agent takes. */}}
{{- define "weir.nodePorts" -}}
- { name: healthPort, port: {{ .Values.healthPort }} }
{{- if .Values.prometheus.enabled }}
- { name: prometheus.port, port: {{ .Values.prometheus.port }} }
{{- end }}
{{- if include "weir.hubbleTls" . }}
- { name: hubble.listenPort, port: {{ .Values.hubble.listenPort }} }
{{- end }}
{{- if .Values.api.enabled }}
- { name: api.port, port: {{ .Values.api.port }} }
{{- end }}
{{- end }}

{{- /* A wrong combination that the schema cannot tell. */}}
{{- define "weir.check" -}}
{{- if not (or .Values.ipv4.enabled .Values.ipv6.enabled) }}
{{- fail "ipv4.enabled and ipv6.enabled are both false: pods need addresses of at least one family" }}
{{- end }}
{{- if and .Values.ipv4.enabled .Values.ipv6.enabled (ne .Values.enableIPv4Masquerade .Values.enableIPv6Masquerade) }}
{{- fail "enableIPv4Masquerade and enableIPv6Masquerade differ: Weir masquerades both families or neither" }}
{{- end }}
{{- if and .Release.IsInstall (lookup "apps/v1" "DaemonSet" .Release.Namespace "weir-cleanup") }}
{{- $first := printf "kubectl -n %s delete daemonset weir-cleanup" .Release.Namespace }}
{{- fail (printf "the last uninstallation did not end: its DaemonSet weir-cleanup would take Weir off nodes again. First: %s" $first) }}
{{- end }}
{{- if and .Values.ipv6.enabled .Values.MTU (lt (int .Values.MTU) 1280) }}
{{- fail (printf "MTU is %d: IPv6 needs at least 1280" (int .Values.MTU)) }}
{{- end }}
{{- $used := dict }}
{{- range include "weir.nodePorts" . | fromYamlArray }}
{{- $port := toString .port }}
{{- if hasKey $used $port }}
{{- fail (printf "%s and %s are both %s: the agent listens on each of them" (get $used $port) .name $port) }}
{{- end }}
{{- $_ := set $used $port .name }}
{{- end }}
{{- $file := include "weir.exportFile" . }}
{{- if not (or (hasPrefix (printf "%s/" .Values.daemon.runPath) $file) (hasPrefix (printf "%s/" .Values.daemon.statePath) $file)) }}
{{- fail "hubble.export.static.filePath must lie below daemon.runPath or daemon.statePath: the agent sees no other folder of the host" }}
{{- end }}
{{- if and .Values.k8sServicePort (not .Values.k8sServiceHost) }}
{{- fail "k8sServicePort is set and k8sServiceHost is not: both name the API server" }}
{{- end }}
{{- if and .Values.hubble.relay.enabled (not (include "weir.hubbleTls" .)) }}
{{- fail "hubble.relay.enabled needs hubble.enabled and hubble.tls.enabled: agents answer a relay with TLS only" }}
{{- end }}
{{- if and .Values.hubble.enabled .Values.hubble.tls.enabled (eq .Values.hubble.tls.auto.method "certmanager") (not .Values.hubble.tls.auto.certManagerIssuerRef.name) }}
{{- fail "hubble.tls.auto.method is certmanager: hubble.tls.auto.certManagerIssuerRef must name the issuer" }}
{{- end }}
{{- $ours := fromYaml (include "weir.settings" (dict "Values" (omit .Values "extraConfig") "Release" .Release)) }}
{{- range $name, $_ := .Values.extraConfig }}
{{- if hasKey $ours $name }}
{{- fail (printf "extraConfig.%s: the chart sets it, by a value of its own" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.prometheus.serviceMonitor.enabled (not .Values.prometheus.enabled) }}
{{- fail "prometheus.serviceMonitor.enabled needs prometheus.enabled" }}
{{- end }}
{{- if and .Values.api.enabled (not (include "weir.hubbleTls" .)) }}
{{- fail "api.enabled needs hubble.enabled and hubble.tls.enabled: it uses their certificates" }}
{{- end }}
{{- if and .Values.hubble.metrics.enabled (not .Values.prometheus.enabled) }}
{{- fail "hubble.metrics.enabled needs prometheus.enabled: the agents offer all metrics at one port, prometheus.port" }}
{{- end }}
{{- end }}
