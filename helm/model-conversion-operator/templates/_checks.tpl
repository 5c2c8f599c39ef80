{{/* Mistakes that values.schema.json cannot see, because they lie between two values. */}}
{{- define "model-conversion-operator.checks" -}}
{{- $values := .Values -}}
{{- $replicas := int $values.replicas -}}
{{- range $where, $image := dict "image" $values.image "converter.image" $values.converter.image -}}
{{- if or (contains "@" $image.repository) (contains ":" (base $image.repository)) -}}
{{- fail (printf "%s.repository is %s, which has a tag or a digest: put those into %s.tag and %s.digest" $where $image.repository $where $where) -}}
{{- end -}}
{{- end -}}
{{- with $values.defaults.storage.endpoint -}}
{{- if not (regexMatch "^https?://[^/ ?#@]+/?$" .) -}}
{{- fail (printf "defaults.storage.endpoint is %s: it must be a URL without path or user, e.g. https://minio.storage.svc:9000" .) -}}
{{- end -}}
{{- end -}}
{{- if and (gt $replicas 1) (not $values.leaderElection.enabled) -}}
{{- fail (printf "replicas is %d without leader election, so all of them would work: set leaderElection.enabled to true, or replicas to 1" $replicas) -}}
{{- end -}}
{{- with $values.podDisruptionBudget -}}
{{- $stay := printf "%v" .minAvailable -}}
{{- $pods := ternary (div (add (mul (trimSuffix "%" $stay | atoi) $replicas) 99) 100) (atoi $stay) (hasSuffix "%" $stay) -}}
{{- if and .enabled $replicas (ge (int $pods) $replicas) -}}
{{- fail (printf "podDisruptionBudget.minAvailable is %s and replicas is %d, so no node with one of them could ever be drained: set replicas higher, or use maxUnavailable" $stay $replicas) -}}
{{- end -}}
{{- end -}}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: name the service account that the operator is to use" -}}
{{- end -}}
{{- if and $values.networkPolicy.jobs.enabled (empty (include "model-conversion-operator.jobPolicyNamespaces" . | fromJson).namespaces) -}}
{{- fail "networkPolicy.jobs.enabled needs namespaces, because a NetworkPolicy reaches no further than its own: list them in networkPolicy.jobs.namespaces, or watch only some with watchNamespaces" -}}
{{- end -}}
{{- if and $values.watchNamespaces $values.networkPolicy.jobs.namespaces -}}
{{- fail "networkPolicy.jobs.namespaces is for an operator that watches the whole cluster: with watchNamespaces, those get the policy" -}}
{{- end -}}
{{- range $values.extraEnv -}}
{{- if hasPrefix "MODELCONVERSION_" .name -}}
{{- fail (printf "extraEnv has %s, but the operator's settings have values of their own: see the chart's README" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
