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
app.kubernetes.io/name: {{ include "metallb.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "metallb.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "metallb.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /*
Labels and annotations of an object, as the keys of its metadata. Arguments: root; component, labels and annotations where it has some. What an object
says itself comes before what is common to all.
*/ -}}
{{- define "metallb.described" -}}
{{- $labels := include "metallb.labels" .root | fromYaml -}}
{{- with .component -}}
{{- $_ := set $labels "app.kubernetes.io/component" . -}}
{{- end -}}
labels:
  {{- merge $labels (default dict .labels) (default dict .root.Values.commonLabels) | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Labels of a pod. Arguments: root, component, labels (of the component). */ -}}
{{- define "metallb.podLabels" -}}
{{- $labels := include "metallb.selectorLabels" .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/component" .component -}}
{{- merge $labels (default dict .labels) (default dict .root.Values.commonLabels) | toYaml -}}
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

{{- /* Annotations of a pod, or nothing. Arguments: root, component. */ -}}
{{- define "metallb.podAnnotations" -}}
{{- $found := dict -}}
{{- if .root.Values.prometheus.scrapeAnnotations -}}
{{- $found = dict "prometheus.io/scrape" "true" "prometheus.io/scheme" "https" "prometheus.io/port" (.root.Values.prometheus.metricsPort | toString) -}}
{{- end -}}
{{- if and (eq .component "speaker") (include "metallb.membershipConfig" .root) -}}
{{- /* The timings are read when a speaker starts: other timings are another pod. */ -}}
{{- $_ := set $found "checksum/membership-config" (.root.Values.speaker.memberlist.config | toJson | sha256sum) -}}
{{- end -}}
{{- $own := (index .root.Values .component).podAnnotations -}}
{{- with merge $found (default dict $own) (default dict .root.Values.commonAnnotations) -}}
{{- toYaml . -}}
{{- end -}}
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

{{- /* The lists of custom resources in the values, with their kinds. */ -}}
{{- define "metallb.resources" -}}
ipAddressPools: IPAddressPool
l2Advertisements: L2Advertisement
bgpPeers: BGPPeer
bgpAdvertisements: BGPAdvertisement
bfdProfiles: BFDProfile
communities: Community
{{- end -}}

{{- /* Whether a ConfigMap with timings of the membership protocol comes from the values; "true" or nothing. */ -}}
{{- define "metallb.membershipConfig" -}}
{{- if and (include "metallb.memberlist" .) .Values.speaker.memberlist.config -}}true{{- end -}}
{{- end -}}

{{- /* Keys that somebody set and that nothing reads, as a list. What is compared with are MetalLB's defaults, which are ours too. */ -}}
{{- define "metallb.withoutEffect" -}}
{{- $speaker := .Values.speaker -}}
{{- $found := list -}}
{{- if $speaker.bgpDebounceTimeout -}}{{- $found = append $found "speaker.bgpDebounceTimeout" -}}{{- end -}}
{{- $startup := dict "enabled" true "failureThreshold" 30 "periodSeconds" 5 -}}
{{- if ne (toJson $speaker.startupProbe) (toJson $startup) -}}{{- $found = append $found "speaker.startupProbe" -}}{{- end -}}
{{- $image := dict "repository" "quay.io/frrouting/frr" "tag" "10.5.3" -}}
{{- range $key, $default := $image -}}
{{- if ne $default (index $speaker.frr.image $key) -}}{{- $found = append $found (printf "speaker.frr.image.%s" $key) -}}{{- end -}}
{{- end -}}
{{- with $speaker.frr.image.pullPolicy -}}{{- $found = append $found "speaker.frr.image.pullPolicy" -}}{{- end -}}
{{- if ne (int $speaker.frr.metricsPort) 9121 -}}{{- $found = append $found "speaker.frr.metricsPort" -}}{{- end -}}
{{- with $speaker.frr.resources -}}{{- $found = append $found "speaker.frr.resources" -}}{{- end -}}
{{- with $speaker.reloader.resources -}}{{- $found = append $found "speaker.reloader.resources" -}}{{- end -}}
{{- with $speaker.frrMetrics.resources -}}{{- $found = append $found "speaker.frrMetrics.resources" -}}{{- end -}}
{{- range $key, $settings := $speaker.initContainers -}}
{{- with $settings.resources -}}{{- $found = append $found (printf "speaker.initContainers.%s.resources" $key) -}}{{- end -}}
{{- end -}}
{{- with .Values.frrk8s.namespace -}}{{- $found = append $found "frrk8s.namespace" -}}{{- end -}}
{{- $passed := index .Values "frr-k8s" -}}
{{- if and $passed (ne (toJson $passed) (dict "prometheus" (dict "serviceMonitor" (dict "enabled" false)) | toJson)) -}}{{- $found = append $found "frr-k8s" -}}{{- end -}}
{{- $found | toJson -}}
{{- end -}}
