{{- /* Pods that talk with the API server and do nothing else; on the node's network, for there may be no other. */}}

{{- define "weir.jobPod" -}}
hostNetwork: true
enableServiceLinks: false
priorityClassName: {{ .Values.priorityClassName }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
  - operator: Exists
{{- end }}

{{- define "weir.jobContainer" -}}
image: {{ include "weir.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [weir-install]
{{- with include "weir.apiServerEnv" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65534
  capabilities:
    drop: ["ALL"]
  seccompProfile:
    type: RuntimeDefault
{{- end }}
