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
{{- if $values.openshift }}
{{- if or (eq $object.kind "Deployment") (eq $object.kind "CronJob") }}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}{{ $_ := unset $template.securityContext $key }}{{ end }}
{{- end }}
{{- end }}
{{- if and $values.webhook.certManager (eq $name "sidecar-webhook") }}
{{- include "sidecar.cert-manager" . }}
{{- end }}
{{- if and (eq $object.kind "Deployment") (eq $name "sidecar-watch") }}
{{- range $url := $values.watch.alertUrls }}
{{- $container := first $template.containers }}
{{- $_ := set $container "args" (append $container.args (printf "--alert-url=%s" $url)) }}
{{- end }}
{{- end }}
{{- if hasPrefix "monitoring.coreos.com/" $object.apiVersion }}
{{- $_ := set $object.metadata "labels" (merge $object.metadata.labels ($values.monitoring.labels | default dict)) }}
{{- if and (eq $object.kind "PrometheusRule") (not $values.watch.enabled) }}
{{- $groups := list }}
{{- range $group := $object.spec.groups }}{{ if ne $group.name "sidecar-watch" }}{{ $groups = append $groups $group }}{{ end }}{{ end }}
{{- $_ := set $object.spec "groups" $groups }}
{{- end }}
{{- end }}
{{- if and (eq $object.kind "NetworkPolicy") (eq $name "sidecar-out") }}
{{- $egress := first $object.spec.egress }}
{{- if $values.openshift }}{{ $_ := set $egress "ports" (concat $egress.ports (list (dict "port" 5353 "protocol" "UDP") (dict "port" 5353))) }}{{ end }}
{{- range $port := $values.egressPorts }}{{ $_ := set $egress "ports" (append $egress.ports (dict "port" (int $port))) }}{{ end }}
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

{{- /* What components/cert-manager/kustomization.yaml patches. */ -}}
{{- define "sidecar.cert-manager" }}
{{- if eq .object.kind "Deployment" }}
{{- $pod := .object.spec.template.spec }}
{{- $container := first $pod.containers }}
{{- $_ := set $container "args" (list "--certificates=/etc/sidecar/tls") }}
{{- $_ := set $container "volumeMounts" (list (dict "name" "tls" "mountPath" "/etc/sidecar/tls" "readOnly" true)) }}
{{- $_ := set $pod "volumes" (list (dict "name" "tls" "secret" (dict "secretName" "sidecar-webhook-cert"))) }}
{{- end }}
{{- if eq .object.kind "MutatingWebhookConfiguration" }}
{{- $_ := set .object.metadata "annotations" (dict "cert-manager.io/inject-ca-from" "sidecar-system/sidecar-webhook") }}
{{- end }}
{{- if eq .object.kind "ClusterRole" }}
{{- $rules := list }}
{{- range $rule := .object.rules }}{{ if not (has "mutatingwebhookconfigurations" ($rule.resources | default list)) }}{{ $rules = append $rules $rule }}{{ end }}{{ end }}
{{- $_ := set .object "rules" $rules }}
{{- end }}
{{- end }}
