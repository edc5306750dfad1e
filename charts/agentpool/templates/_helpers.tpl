{{- define "agentpool.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "agentpool.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "agentpool.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "agentpool.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of the policies and their bindings, which belong to no namespace: namespaced releases may have the same name. A namespace has no dot in it. */}}
{{- define "agentpool.policyName" -}}
{{- if .Values.namespaces -}}
{{- printf "%s.%s" .Release.Namespace (include "agentpool.fullname" .) -}}
{{- else -}}
{{- include "agentpool.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "agentpool.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agentpool.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agentpool.labels" -}}
{{ include "agentpool.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: agentpool
{{- end -}}

{{- define "agentpool.serviceAccountName" -}}
{{- default (include "agentpool.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "agentpool.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "agentpool.serviceAccountName" . }}
{{- end -}}

{{- define "agentpool.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "agentpool.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "agentpool.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the operator may do in a namespace whose pools it serves; each verb with its use. */}}
{{- define "agentpool.namespacedRules" -}}
# Reads the pools it serves.
- apiGroups: [agentpool.dev]
  resources: [agentpools]
  verbs: [list, watch]
# Reports; never writes a pool's spec.
- apiGroups: [agentpool.dev]
  resources: [agentpools/status]
  verbs: [patch]
# Reads the workloads; get: one again, just before it is handed back; patch: GPU keys of the template, its own annotations, handing back its field ownership.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, patch]
# Replicas, with a field manager of their own.
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
# What is bound where, and the addresses to scrape; patch: pod-deletion-cost, so that a scale-in takes the least loaded.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# Refuses a workload that an autoscaler acts on already.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch]
# Says what it did and why.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
