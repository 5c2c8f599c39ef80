{{/* The operator's settings: `modelconversion-operator --help` explains each. */}}
{{- define "model-conversion-operator.env" -}}
- name: MODELCONVERSION_CONVERTER_IMAGE
  value: {{ include "model-conversion-operator.image" (dict "root" . "image" .Values.converter.image) | quote }}
- name: MODELCONVERSION_ENGINES
  value: {{ include "model-conversion-operator.engines" . | quote }}
- name: MODELCONVERSION_ENGINE_ARCHITECTURES
  value: {{ include "model-conversion-operator.engineArchitectures" . | quote }}
- name: MODELCONVERSION_RUNTIME_IMAGE
  value: {{ include "model-conversion-operator.inRegistry" (dict "root" . "reference" .Values.converter.runtimeImage) | quote }}
- name: MODELCONVERSION_IMAGE_PULL_POLICY
  value: {{ .Values.converter.image.pullPolicy | quote }}
- name: MODELCONVERSION_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: MODELCONVERSION_DEFAULTS_FILE
  value: /etc/model-conversion-operator/defaults.yaml
- name: MODELCONVERSION_ALLOWED_SERVICE_ACCOUNTS
  value: {{ join "," .Values.policy.allowedServiceAccounts | quote }}
- name: MODELCONVERSION_ALLOWED_PRIORITY_CLASSES
  value: {{ join "," .Values.policy.allowedPriorityClasses | quote }}
- name: MODELCONVERSION_ALLOWED_TOLERATIONS
  value: {{ join "," .Values.policy.allowedTolerations | quote }}
- name: MODELCONVERSION_ALLOWED_NODE_LABELS
  value: {{ join "," .Values.policy.allowedNodeLabels | quote }}
- name: MODELCONVERSION_ALLOWED_RESOURCES
  value: {{ join "," .Values.policy.allowedResources | quote }}
- name: MODELCONVERSION_CLASS_NAME
  value: {{ .Values.className | quote }}
- name: MODELCONVERSION_SHARED_OUTPUT
  value: {{ .Values.sharedOutput | quote }}
- name: MODELCONVERSION_ALLOWED_ENDPOINTS
  value: {{ join "," .Values.policy.allowedEndpoints | quote }}
- name: MODELCONVERSION_ALLOWED_SECRET_KEYS
  value: {{ join "," .Values.policy.allowedSecretKeys | quote }}
- name: MODELCONVERSION_ALLOWED_METRIC_IMAGES
  value: {{ join "," .Values.policy.allowedMetricImages | quote }}
- name: MODELCONVERSION_CREDENTIALS_RELEASE
  value: {{ .Values.policy.credentialsRelease | quote }}
- name: MODELCONVERSION_MAX_CONCURRENT
  value: {{ .Values.concurrency.max | int | quote }}
- name: MODELCONVERSION_MAX_CONCURRENT_PER_NAMESPACE
  value: {{ .Values.concurrency.maxPerNamespace | int | quote }}
- name: MODELCONVERSION_PROGRESS_SECONDS
  value: {{ .Values.progressSeconds | quote }}
- name: MODELCONVERSION_WORKERS
  value: {{ .Values.workers | int | quote }}
- name: MODELCONVERSION_WATCH_SILENCE_SECONDS
  value: {{ .Values.watchSilenceSeconds | quote }}
- name: MODELCONVERSION_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: MODELCONVERSION_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: MODELCONVERSION_LEADER_ELECT
  value: {{ .Values.leaderElection.enabled | quote }}
{{- with .Values.notifications.cloudEvents }}
- name: MODELCONVERSION_EVENTS_SINK
  value: {{ .sink | quote }}
- name: MODELCONVERSION_EVENTS_TYPES
  value: {{ join "," .types | quote }}
- name: MODELCONVERSION_EVENTS_TOKEN_FILE
  value: {{ ternary "/etc/notifications/token" "" (and .sink .secretRef.name | not | not) | quote }}
- name: MODELCONVERSION_EVENTS_CA_FILE
  value: {{ ternary "/etc/notifications/ca.crt" "" (and .sink .caRef.name | not | not) | quote }}
{{- end }}
{{- with .Values.tracing }}
- name: MODELCONVERSION_TRACES_ENDPOINT
  value: {{ .otlpEndpoint | quote }}
- name: MODELCONVERSION_TRACES_HEADER
  value: {{ .header | quote }}
- name: MODELCONVERSION_TRACES_TOKEN_FILE
  value: {{ ternary "/etc/tracing/token" "" (and .otlpEndpoint .secretRef.name | not | not) | quote }}
- name: MODELCONVERSION_TRACES_CA_FILE
  value: {{ ternary "/etc/tracing/ca.crt" "" (and .otlpEndpoint .caRef.name | not | not) | quote }}
{{- end }}
{{- if or .Values.leaderElection.enabled .Values.notifications.cloudEvents.sink .Values.tracing.otlpEndpoint }}
# Of the release, so that two of them in one namespace do not wait for each other.
- name: MODELCONVERSION_LEASE_NAME
  value: {{ include "model-conversion-operator.fullname" . | quote }}
- name: MODELCONVERSION_LEASE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
{{- end }}
{{- if .Values.leaderElection.enabled }}
- name: MODELCONVERSION_LEASE_SECONDS
  value: {{ .Values.leaderElection.leaseSeconds | quote }}
- name: MODELCONVERSION_LEADER_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end }}
{{- end -}}
