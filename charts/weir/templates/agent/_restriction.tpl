{{- /* What the policies of node-restriction.yaml have in common. */}}

{{- define "weir.restriction" }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "weir.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- if .perNode }}
  paramRef:
    selector: {}
    parameterNotFoundAction: Allow
  {{- end }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- include "weir.labels" .root | nindent 4 }}
{{- end }}

{{- define "weir.byAnAgent" -}}
- name: by-an-agent
  expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "weir.serviceAccount" . }}'
{{- end }}

{{- define "weir.agentNode" -}}
# Of the agent that asks; '' for a token that is bound to no pod.
- name: node
  expression: >-
    has(request.userInfo.extra) && 'authentication.kubernetes.io/node-name' in request.userInfo.extra
    ? request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''
{{- end }}
