{{- /* The agent's settings (docs/reference/settings.md), under their own names. */}}
{{- define "weir.settings" -}}
{{- $v := .Values -}}
source: kubernetes
kubernetesNamespace: {{ .Release.Namespace }}
clusterName: {{ $v.cluster.name }}
{{- if not $v.ipv4.enabled }}
podCidrV4: none
{{- end }}
{{- if not $v.ipv6.enabled }}
podCidrV6: none
{{- end }}

routingMode: {{ $v.routingMode }}
tunnelPort: {{ $v.tunnelPort }}
underlay: {{ $v.underlayProtocol }}
uplinkDevices: {{ $v.devices | join "," | quote }}
xdpMode: {{ $v.xdp.mode }}
mtuBytes: {{ $v.MTU }}
clusterPodCidrs: {{ $v.clusterPodCIDRs | join "," | quote }}
masquerade: {{ ternary $v.enableIPv4Masquerade $v.enableIPv6Masquerade $v.ipv4.enabled }}
masqueradeExcludedCidrs: {{ concat (list $v.ipv4NativeRoutingCIDR $v.ipv6NativeRoutingCIDR | compact) $v.nonMasqueradeCIDRs | join "," | quote }}
services: {{ $v.services.enabled }}

policyEnforcement: {{ $v.policyEnforcementMode }}
cidrMatchesNodes: {{ has "nodes" $v.policyCIDRMatchMode }}
allowLocalHost: {{ ne $v.allowLocalhost "policy" }}
identityLabels: {{ $v.labels | quote }}

runDirectory: {{ $v.daemon.runPath }}
stateDirectory: {{ $v.daemon.statePath }}
pinDirectory: {{ $v.bpf.root }}/{{ $v.bpf.pinDirectory }}
cgroupDirectory: {{ $v.cgroup.directory | quote }}
cniInstall: {{ $v.cni.install }}
cniBinDirectory: {{ $v.cni.binPath }}
cniConfDirectory: {{ $v.cni.confPath }}
cniConfName: {{ $v.cni.confFile }}
cniExclusive: {{ $v.cni.exclusive }}

healthListenAddress: 127.0.0.1:{{ $v.healthPort }}
{{- if $v.prometheus.enabled }}
metricsListenAddress: {{ printf "%s:%v" (include "weir.anyAddress" .) $v.prometheus.port | quote }}
{{- end }}
{{- with $v.hubble.metrics.enabled }}
hubbleMetrics: {{ join " " . | quote }}
{{- end }}
{{- if $v.hubble.enabled }}
hubbleSocket: {{ $v.daemon.runPath }}/hubble.sock
flowMemoryMiB: {{ $v.hubble.memoryMiB }}
{{- end }}
flowAggregation: {{ $v.bpf.monitorAggregation }}
reportIntervalSeconds: {{ $v.bpf.monitorInterval }}
{{- if include "weir.hubbleTls" . }}
hubbleListenAddress: {{ printf "%s:%v" (include "weir.anyAddress" .) $v.hubble.listenPort | quote }}
hubbleTlsCertFile: /var/lib/weir-hubble/tls.crt
hubbleTlsKeyFile: /var/lib/weir-hubble/tls.key
hubbleTlsClientCaFile: /var/lib/weir-hubble/ca.crt
{{- end }}
{{- if $v.hubble.export.static.enabled }}
exportFile: {{ include "weir.exportFile" . | quote }}
exportFileMaxMiB: {{ $v.hubble.export.static.fileMaxSizeMb }}
exportFileBackups: {{ $v.hubble.export.static.fileMaxBackups }}
exportFileCompress: {{ $v.hubble.export.static.fileCompress }}
{{- end }}
{{- with $v.hubble.export.otlp.url }}
exportOtlpUrl: {{ . | quote }}
{{- end }}
{{- if $v.hubble.export.otlp.headersSecret }}
exportOtlpHeadersFile: /var/lib/weir-export/headers/headers
{{- end }}
{{- if $v.hubble.export.otlp.caConfigMap }}
exportOtlpCaFile: /var/lib/weir-export/ca/ca.crt
{{- end }}
{{- with $v.hubble.export.allowList }}
exportAllowList: {{ join " " . | quote }}
{{- end }}
{{- with $v.hubble.export.denyList }}
exportDenyList: {{ join " " . | quote }}
{{- end }}
{{- with $v.hubble.export.fieldMask }}
exportFieldMask: {{ join " " . | quote }}
{{- end }}
{{- if $v.api.enabled }}
apiTlsListenAddress: {{ printf "%s:%v" (include "weir.anyAddress" .) $v.api.port | quote }}
{{- end }}

logLevel: {{ $v.log.level }}
logFormat: {{ $v.log.format }}
{{- with $v.extraConfig }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}
