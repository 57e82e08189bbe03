{{- /* What the agent and the removal of what it left have in common: the host's
folders, at the same paths in the container, and its settings, in the ConfigMap `config`. */}}

{{- define "weir.hostMounts" -}}
- name: config
  mountPath: /etc/weir
  readOnly: true
- name: bpffs
  mountPath: {{ .Values.bpf.root }}
  mountPropagation: HostToContainer
- name: run
  mountPath: {{ .Values.daemon.runPath }}
- name: state
  mountPath: {{ .Values.daemon.statePath }}
- name: netns
  mountPath: {{ .Values.netnsPath }}
  mountPropagation: HostToContainer
# /proc/sys can only be read in a container, and nothing may be mounted over it.
- name: sysctl
  mountPath: /host/proc/sys/net
- name: rcu-expedited
  mountPath: /sys/kernel/rcu_expedited
- name: cgroup
  mountPath: /host/sys/fs/cgroup
  mountPropagation: HostToContainer
- name: cni-bin
  mountPath: {{ .Values.cni.binPath }}
- name: cni-conf
  mountPath: {{ .Values.cni.confPath }}
{{- end }}

{{- define "weir.hostVolumes" -}}
- name: config
  configMap:
    name: {{ .config }}
- name: bpffs
  hostPath:
    path: {{ .Values.bpf.root }}
    type: DirectoryOrCreate
- name: run
  hostPath:
    path: {{ .Values.daemon.runPath }}
    type: DirectoryOrCreate
- name: state
  hostPath:
    path: {{ .Values.daemon.statePath }}
    type: DirectoryOrCreate
- name: netns
  hostPath:
    path: {{ .Values.netnsPath }}
    type: DirectoryOrCreate
- name: sysctl
  hostPath:
    path: /proc/sys/net
    type: Directory
# Wiring a pod is 30 times faster while grace periods are expedited.
- name: rcu-expedited
  hostPath:
    path: /sys/kernel/rcu_expedited
    type: File
- name: cgroup
  hostPath:
    path: {{ .Values.cgroup.hostRoot }}
    type: Directory
- name: cni-bin
  hostPath:
    path: {{ .Values.cni.binPath }}
    type: DirectoryOrCreate
- name: cni-conf
  hostPath:
    path: {{ .Values.cni.confPath }}
    type: DirectoryOrCreate
{{- end }}

{{- define "weir.securityContext" -}}
privileged: false
readOnlyRootFilesystem: true
seccompProfile:
  type: RuntimeDefault
appArmorProfile:
  type: Unconfined
{{- with .Values.securityContext.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
capabilities:
  drop: ["ALL"]
  add: {{ toJson .Values.securityContext.capabilities }}
{{- end }}

{{- define "weir.agentEnv" -}}
- name: WEIR_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
# Whom `weir` in this container asks, and the `weir` on other machines through it.
- name: WEIR_SERVER
  value: unix://{{ .Values.extraConfig.apiSocket | default (printf "%s/api.sock" .Values.daemon.runPath) }}
{{ include "weir.apiServerEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
