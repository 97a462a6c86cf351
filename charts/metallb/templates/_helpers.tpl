{{- /* Rules: names and labels equal those of MetalLB's chart, for selectors are immutable and roles are bound by name. */ -}}

{{- define "metallb.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "metallb.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "metallb.selectorLabels" -}}
app.kubernetes.io/name: {{ include "metallb.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "metallb.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "metallb.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* Arguments: root, component. */ -}}
{{- define "metallb.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "metallb.fullname" .root) .component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{- define "metallb.secretName" -}}
{{- default (printf "%s-memberlist" (include "metallb.fullname" .)) .Values.speaker.secretName -}}
{{- end -}}

{{- /* Whether the speakers run the membership protocol; "true" or nothing. */ -}}
{{- define "metallb.memberlist" -}}
{{- if and .Values.speaker.enabled .Values.speaker.memberlist.enabled -}}true{{- end -}}
{{- end -}}

{{- /* Arguments: root, image. */ -}}
{{- define "metallb.image" -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) | quote -}}
{{- end -}}

{{- /* The command of a container: text or a list. */ -}}
{{- define "metallb.command" -}}
{{- if kindIs "string" . -}}
{{- list . | toYaml -}}
{{- else -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- /* Flags that both components share. Arguments: root, component, secret (of the metrics' certificate). */ -}}
{{- define "metallb.arguments" -}}
{{- $values := index .root.Values .component -}}
- --port={{ .root.Values.prometheus.metricsPort }}
- --health-probe-port={{ $values.livenessProbe.port }}
- --log-level={{ $values.logLevel }}
{{- with .root.Values.loadBalancerClass }}
- --lb-class={{ . }}
{{- end }}
{{- with .root.Values.tls.minVersion }}
- --tls-min-version={{ . }}
{{- end }}
{{- with .root.Values.tls.cipherSuites }}
- --tls-cipher-suites={{ . }}
{{- end }}
{{- with .root.Values.tls.curvePreferences }}
- --tls-curve-preferences={{ . }}
{{- end }}
{{- if .secret }}
- --metrics-cert-dir=/etc/metrics
{{- end }}
{{- end -}}

{{- /* Both probes of a component. Arguments: values (of the component), host (empty: the pod's address). */ -}}
{{- define "metallb.probes" -}}
{{- $probes := list (list "livenessProbe" "/healthz") (list "readinessProbe" "/readyz") -}}
{{- range $probe := $probes -}}
{{- $name := index $probe 0 -}}
{{- $settings := index $.values $name -}}
{{- if $settings.enabled }}
{{ $name }}:
  httpGet:
    path: {{ index $probe 1 }}
    port: {{ $settings.port }}
    {{- with $.host }}
    host: {{ . }}
    {{- end }}
  initialDelaySeconds: {{ $settings.initialDelaySeconds }}
  periodSeconds: {{ $settings.periodSeconds }}
  timeoutSeconds: {{ $settings.timeoutSeconds }}
  successThreshold: {{ $settings.successThreshold }}
  failureThreshold: {{ $settings.failureThreshold }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Annotations of a pod. Arguments: root, component. */ -}}
{{- define "metallb.podAnnotations" -}}
{{- if .root.Values.prometheus.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/scheme: https
prometheus.io/port: {{ .root.Values.prometheus.metricsPort | quote }}
{{- end }}
{{- with (index .root.Values .component).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What a pod has beside its containers. Arguments: root, component. */ -}}
{{- define "metallb.podSettings" -}}
{{- $values := index .root.Values .component -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with $values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Rules by which a component asks the API server whether a reader of its metrics may read them. */ -}}
{{- define "metallb.metricsAccess" -}}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}
