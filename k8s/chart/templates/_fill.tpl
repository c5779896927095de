{{- /* Changes `object` in place: image, replicas, settings, annotations. Prints nothing. */ -}}
{{- define "sidecar.fill" }}
{{- $object := .object }}
{{- $values := .root.Values }}
{{- $name := $object.metadata.name }}
{{- $image := printf "%s%s%s" $values.image.repository (ternary "@" ":" (hasPrefix "sha256:" $values.image.tag)) $values.image.tag }}
{{- $template := dict }}
{{- if or (eq $object.kind "Deployment") (eq $object.kind "DaemonSet") }}{{ $template = $object.spec.template.spec }}{{ end }}
{{- if eq $object.kind "CronJob" }}{{ $template = $object.spec.jobTemplate.spec.template.spec }}{{ end }}
{{- if $template }}
{{- range $container := concat $template.containers ($template.initContainers | default list) }}
{{- $_ := set $container "image" $image }}
{{- $_ := set $container "imagePullPolicy" $values.image.pullPolicy }}
{{- end }}
{{- if $values.image.pullSecrets }}
{{- $secrets := list }}
{{- range $secret := $values.image.pullSecrets }}{{ $secrets = append $secrets (dict "name" $secret) }}{{ end }}
{{- $_ := set $template "imagePullSecrets" $secrets }}
{{- end }}
{{- end }}
{{- if and (eq $object.kind "Deployment") (eq $name "sidecar-webhook") }}{{ $_ := set $object.spec "replicas" $values.webhook.replicas }}{{ end }}
{{- if and (eq $object.kind "Deployment") (eq $name "sidecar-controller") }}{{ $_ := set $object.spec "replicas" $values.controller.replicas }}{{ end }}
{{- if and (eq $object.kind "ConfigMap") (eq $name "sidecar-defaults") }}
{{- $data := dict "image" $image "image-pull-policy" $values.image.pullPolicy }}
{{- if $values.drainer.enabled }}{{ $_ := set $data "journal-volume" "hostPath:/var/lib/sidecar-journals" }}{{ end }}
{{- $_ := set $object "data" (merge (deepCopy $values.defaults) $data) }}
{{- end }}
{{- if and (eq $object.kind "ConfigMap") (eq $name "sidecar-drain") }}{{ $_ := set $object "data" (pick $values.defaults "store" "store-endpoint" "store-region") }}{{ end }}
{{- if and (eq $object.kind "ServiceAccount") (has $name (list "sidecar-watch" "sidecar-drain" "sidecar-witness" "sidecar-retention")) $values.serviceAccountAnnotations }}
{{- $_ := set $object.metadata "annotations" $values.serviceAccountAnnotations }}
{{- end }}
{{- if eq $object.kind "MutatingWebhookConfiguration" }}
{{- range $webhook := $object.webhooks }}{{ $_ := set $webhook "failurePolicy" $values.webhook.failurePolicy }}{{ end }}
{{- end }}
{{- if and (eq $object.kind "NetworkPolicy") (eq $name "sidecar-metrics") }}
{{- range $rule := $object.spec.ingress }}{{ range $from := $rule.from }}{{ $_ := set $from.namespaceSelector.matchLabels "kubernetes.io/metadata.name" $values.monitoring.namespace }}{{ end }}{{ end }}
{{- end }}
{{- end }}
