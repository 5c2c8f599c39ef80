{{- define "model-conversion-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that every suffix fits into the 63 of a Service. */}}
{{- define "model-conversion-operator.fullname" -}}
{{- $name := include "model-conversion-operator.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "model-conversion-operator.serviceAccountName" -}}
{{- default (include "model-conversion-operator.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What finds the operator's pods. A Deployment's selector can never change, so nothing else may get in. */}}
{{- define "model-conversion-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "model-conversion-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of an object: a dict with root, component (operator), and labels of its own. Ours win. */}}
{{- define "model-conversion-operator.labels" -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "model-conversion-operator.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "model-conversion-operator"
  "app.kubernetes.io/component" (default "operator" .component) -}}
{{- toYaml (merge $ours (default dict .labels) (default dict .root.Values.commonLabels)) -}}
{{- end -}}

{{/*
Metadata of an object: a dict with root, name (the release's), namespace (the release's; "-" for an object of the
cluster), component, labels and annotations.
*/}}
{{- define "model-conversion-operator.metadata" -}}
name: {{ default (include "model-conversion-operator.fullname" .root) .name }}
{{- if ne (default "" .namespace) "-" }}
namespace: {{ default .root.Release.Namespace .namespace }}
{{- end }}
labels:
  {{- include "model-conversion-operator.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the operator reads for a server that it tells, a dict with url and of, its values; nothing without a URL. */}}
{{- define "model-conversion-operator.filesFor" -}}
{{- if and .url .of.secretRef.name -}}
- secret: {name: {{ .of.secretRef.name }}, items: [{key: {{ .of.secretRef.key | quote }}, path: token}]}
{{ end -}}
{{- if and .url .of.caRef.name -}}
- {{ ternary "secret" "configMap" (eq .of.caRef.kind "Secret") }}: {name: {{ .of.caRef.name }}, items: [{key: {{ .of.caRef.key | quote }}, path: ca.crt}]}
{{ end -}}
{{- end -}}

{{/* What the operator reads for its sink of events; nothing where there is no sink. */}}
{{- define "model-conversion-operator.notificationFiles" -}}
{{- with .Values.notifications.cloudEvents -}}
{{- include "model-conversion-operator.filesFor" (dict "url" .sink "of" .) -}}
{{- end -}}
{{- end -}}

{{/* What the operator reads for its receiver of traces; nothing where there is none. */}}
{{- define "model-conversion-operator.tracingFiles" -}}
{{- with .Values.tracing -}}
{{- include "model-conversion-operator.filesFor" (dict "url" .otlpEndpoint "of" .) -}}
{{- end -}}
{{- end -}}

{{/* Annotations of the operator's pods; those of the user win. */}}
{{- define "model-conversion-operator.podAnnotations" -}}
{{- /* The operator reads its file of defaults when it starts: another one makes another pod. */}}
{{- $ours := dict
  "checksum/defaults" (include "model-conversion-operator.defaults" . | sha256sum)
  "kubectl.kubernetes.io/default-container" "operator" -}}
{{- if eq .Values.metrics.mode "Annotations" -}}
{{- $ours = merge $ours (dict "prometheus.io/scrape" "true" "prometheus.io/port" "8080" "prometheus.io/path" "/metrics") -}}
{{- end -}}
{{- toYaml (merge (dict) (default dict .Values.podAnnotations) $ours (default dict .Values.commonAnnotations)) -}}
{{- end -}}

{{/* Reference of an image: a dict with root and image. With a digest, a tag is for the reader only. */}}
{{- define "model-conversion-operator.image" -}}
{{- $tag := .image.tag | toString -}}
{{- if and (not $tag) (not .image.digest) -}}{{- $tag = .root.Chart.AppVersion -}}{{- end -}}
{{- include "model-conversion-operator.inRegistry" (dict "root" .root "reference" .image.repository) -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/*
A reference in the registry that takes the place of all: a dict with root and reference. As container engines read it,
what stands before the first slash is a registry where it has a dot or a port, or is localhost.
*/}}
{{- define "model-conversion-operator.inRegistry" -}}
{{- $path := .reference -}}
{{- if and .root.Values.imageRegistry .reference -}}
{{- $path = printf "%s/%s" .root.Values.imageRegistry (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" .reference "") -}}
{{- end -}}
{{- $path -}}
{{- end -}}

{{/* Secrets for pulling an image, as JSON: {"secrets": [...]}. A dict with root and image. */}}
{{- define "model-conversion-operator.pullSecrets" -}}
{{- dict "secrets" (concat .root.Values.imagePullSecrets .image.pullSecrets | uniq) | toJson -}}
{{- end -}}

{{/* FORMAT=IMAGE of each engine, with commas between them. */}}
{{- define "model-conversion-operator.engines" -}}
{{- $entries := list -}}
{{- range $format, $image := .Values.converter.engines -}}{{- $entries = append $entries (printf "%s=%s" $format (include "model-conversion-operator.inRegistry" (dict "root" $ "reference" $image))) -}}{{- end -}}
{{- join "," $entries -}}
{{- end -}}

{{/* FORMAT=ARCHITECTURE of each engine that is for one, with commas between them. */}}
{{- define "model-conversion-operator.engineArchitectures" -}}
{{- $entries := list -}}
{{- range $format, $name := .Values.converter.engineArchitectures -}}{{- $entries = append $entries (printf "%s=%s" $format $name) -}}{{- end -}}
{{- join "," $entries -}}
{{- end -}}

{{/* Namespaces whose Jobs get a network policy, as JSON: {"namespaces": [...]}. */}}
{{- define "model-conversion-operator.jobPolicyNamespaces" -}}
{{- dict "namespaces" (default .Values.networkPolicy.jobs.namespaces .Values.watchNamespaces) | toJson -}}
{{- end -}}

{{/* The content of --defaults-file. What is empty is left out, because the operator takes it for a value. */}}
{{- define "model-conversion-operator.defaults" -}}
{{- $job := dict -}}
{{- range $name, $value := .Values.defaults.job -}}
{{- if or $value (kindIs "bool" $value) -}}{{- $_ := set $job $name $value -}}{{- end -}}
{{- end -}}
{{- with (include "model-conversion-operator.pullSecrets" (dict "root" . "image" .Values.converter.image) | fromJson).secrets -}}{{- $_ := set $job "imagePullSecrets" . -}}{{- end -}}
{{- with .Values.converter.runtimeClassName -}}{{- $_ := set $job "runtimeClassName" . -}}{{- end -}}
{{- if not .Values.converter.hostUsers -}}{{- $_ := set $job "hostUsers" false -}}{{- end -}}
{{- with .Values.converter.env -}}{{- $_ := set $job "env" . -}}{{- end -}}
{{- range $name, $value := .Values.converter.proxy -}}
{{- if $value -}}{{- $_ := set $job "proxy" (merge (dict $name $value) (default dict $job.proxy)) -}}{{- end -}}
{{- end -}}
{{- toYaml (dict "storage" .Values.defaults.storage "job" $job) -}}
{{- end -}}

{{/* Port of a URL: a dict with url; that of its scheme where it has none. */}}
{{- define "model-conversion-operator.portOf" -}}
{{- $url := urlParse .url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "80" "443" (eq $url.scheme "http")) $port -}}
{{- end -}}

{{/* Ports of the sink of events and the receiver of traces: those given, or else their URLs'; an empty dict for none. */}}
{{- define "model-conversion-operator.sinkPorts" -}}
{{- $ports := list -}}
{{- $events := .Values.notifications.cloudEvents -}}
{{- $traces := .Values.tracing -}}
{{- range list (dict "url" $events.sink "ports" $events.ports) (dict "url" $traces.otlpEndpoint "ports" $traces.ports) -}}
{{- if .url -}}
{{- range default (list (include "model-conversion-operator.portOf" (dict "url" .url))) .ports -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- ternary (dict "ports" (uniq $ports)) dict (not (empty $ports)) | toJson -}}
{{- end -}}

{{- define "model-conversion-operator.networkPolicyDNS" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
