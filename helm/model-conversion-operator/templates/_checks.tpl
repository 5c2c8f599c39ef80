{{/* Mistakes that values.schema.json cannot see, because they lie between two values. */}}
{{- define "model-conversion-operator.checks" -}}
{{- $values := .Values -}}
{{- $replicas := int $values.replicas -}}
{{- range $where, $image := dict "image" $values.image "converter.image" $values.converter.image -}}
{{- if or (contains "@" $image.repository) (contains ":" (base $image.repository)) -}}
{{- fail (printf "%s.repository is %s, which has a tag or a digest: put those into %s.tag and %s.digest" $where $image.repository $where $where) -}}
{{- end -}}
{{- end -}}
{{- $storage := $values.defaults.storage -}}
{{- $endpoints := dict "endpoint" $storage.endpoint -}}
{{- range $cloud := list "googleCloud" "azure" -}}
{{- $_ := set $endpoints (printf "%s.endpoint" $cloud) (dig $cloud "endpoint" "" $storage) -}}
{{- end -}}
{{- range $where, $endpoint := $endpoints -}}
{{- if and $endpoint (not (regexMatch "^https?://[^/ ?#@]+/?$" $endpoint)) -}}
{{- fail (printf "defaults.storage.%s is %s: it must be a URL without path or user, e.g. https://minio.storage.svc:9000" $where $endpoint) -}}
{{- end -}}
{{- end -}}
{{- if and (gt $replicas 1) (not $values.leaderElection.enabled) -}}
{{- fail (printf "replicas is %d without leader election, so all of them would work: set leaderElection.enabled to true, or replicas to 1" $replicas) -}}
{{- end -}}
{{- if regexMatch "^https?://[^/?#]*@" $values.notifications.cloudEvents.sink -}}
{{- fail "notifications.cloudEvents.sink has a user in its URL, which all can read who may read the Deployment: put a token into a Secret and name that in notifications.cloudEvents.secretRef" -}}
{{- end -}}
{{- if regexMatch "^https?://[^/?#]*@" $values.tracing.otlpEndpoint -}}
{{- fail "tracing.otlpEndpoint has a user in its URL, which all can read who may read the Deployment: put a token into a Secret and name that in tracing.secretRef" -}}
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
{{- with $values.tenantPolicy -}}
{{- if and .enabled (has "*" .allowedEndpoints) (has "*" .allowedOutputs) (has "*" .allowedServiceAccounts) (has "*" .allowedMetricImages) -}}
{{- fail "tenantPolicy.enabled is true, and everything is allowed: name what is in tenantPolicy.allowedEndpoints, allowedOutputs, allowedServiceAccounts or allowedMetricImages, without *" -}}
{{- end -}}
{{- end -}}
{{- if and $values.watchNamespaces $values.networkPolicy.jobs.namespaces -}}
{{- fail "networkPolicy.jobs.namespaces is for an operator that watches the whole cluster: with watchNamespaces, those get the policy" -}}
{{- end -}}
{{- include "model-conversion-operator.checkEnvironment" . -}}
{{- range $values.extraEnv -}}
{{- if hasPrefix "MODELCONVERSION_" .name -}}
{{- fail (printf "extraEnv has %s, but the operator's settings have values of their own: see the chart's README" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The same that the operator holds against its file: see modelconversion_operator/job_environment.py. */}}
{{- define "model-conversion-operator.checkEnvironment" -}}
{{- $ours := "^(CONVERSION_.*|TMPDIR|HOME|PATH|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|AWS_ENDPOINT_URL.*|AZURE_AUTHORITY_HOST|AZURE_FEDERATED_TOKEN_FILE)$" -}}
{{- $loads := "^(LD_.*|PYTHON.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|BASH_ENV|ENV|OPENSSL_.*|SSLKEYLOGFILE|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE|AWS_DATA_PATH)$" -}}
{{- $reference := "put it into a Secret and name that by valueFrom.secretKeyRef" -}}
{{- $proxy := .Values.converter.proxy -}}
{{- $texts := dict "converter.proxy.httpProxy" $proxy.httpProxy "converter.proxy.httpsProxy" $proxy.httpsProxy -}}
{{- $given := dict "HTTP_PROXY" $proxy.httpProxy "HTTPS_PROXY" $proxy.httpsProxy "NO_PROXY" $proxy.noProxy -}}
{{- $names := list -}}
{{- range .Values.converter.env -}}
{{- $name := upper .name -}}
{{- if regexMatch $ours $name -}}
{{- fail (printf "converter.env has %s, which the operator sets, or which leads to another store: it cannot be given" .name) -}}
{{- end -}}
{{- if regexMatch $loads $name -}}
{{- fail (printf "converter.env has %s, which makes a program load code or leave secrets behind: it cannot be given; build an image of your own for what it is to change" .name) -}}
{{- end -}}
{{- if eq $name "ALL_PROXY" -}}
{{- fail (printf "converter.env has %s, but nothing here reads %s: give HTTPS_PROXY and HTTP_PROXY" .name .name) -}}
{{- end -}}
{{- if and (hasKey . "value") (regexMatch "(PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY)$" $name) -}}
{{- fail (printf "converter.env has a value for %s, which sounds like a secret, and which all can read who may read a Job: %s" .name $reference) -}}
{{- end -}}
{{- if or (has $name $names) (get $given $name) -}}
{{- fail (printf "converter.env has %s, which is there, or in converter.proxy, already: say it once" .name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- $_ := set $texts (printf "converter.env %s" .name) (default "" .value) -}}
{{- end -}}
{{- range $where, $text := $texts -}}
{{- if and (regexMatch "//[^/@\\s]*:[^/\\s]*@" $text) (not (regexMatch "//[^/@\\s]*:\\$\\([A-Za-z_][A-Za-z0-9_]*\\)@" $text)) -}}
{{- fail (printf "%s has a password in its URL, which all can read who may read a Job: %s in converter.env, for example as PROXY_PASSWORD, and write http://user:$(PROXY_PASSWORD)@proxy.example:3128" $where $reference) -}}
{{- end -}}
{{- end -}}
{{- end -}}
