{{- define "ringrift.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Names stay short enough for a suffix, a pod's number and a label value of 63 characters. */}}
{{- define "ringrift.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "ringrift.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "ringrift.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "ringrift.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ringrift.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "ringrift.labels" -}}
{{ include "ringrift.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ringrift
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ringrift.image" -}}
{{- $repository := .Values.image.repository }}
{{- if .Values.image.registry }}{{ $repository = printf "%s/%s" .Values.image.registry $repository }}{{ end }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "ringrift.controllerAccount" -}}
{{- default (printf "%s-controller" (include "ringrift.fullname" .)) .Values.serviceAccount.controllerName }}
{{- end }}

{{- define "ringrift.agentAccount" -}}
{{- default (printf "%s-agent" (include "ringrift.fullname" .)) .Values.serviceAccount.agentName }}
{{- end }}

{{- define "ringrift.lease" -}}
{{- include "ringrift.fullname" . }}-controller
{{- end }}

{{- /* Whoever forgets to choose is told, rather than left with an open port. */}}
{{- define "ringrift.checkAuth" -}}
{{- $chosen := 0 }}
{{- if .Values.auth.token }}{{ $chosen = add1 $chosen }}{{ end }}
{{- if .Values.auth.existingSecret }}{{ $chosen = add1 $chosen }}{{ end }}
{{- if .Values.auth.insecureNoToken }}{{ $chosen = add1 $chosen }}{{ end }}
{{- if ne (int $chosen) 1 }}
{{- fail "choose exactly one of auth.token, auth.existingSecret and auth.insecureNoToken: whoever reaches an agent may run programs on its node" }}
{{- end }}
{{- end }}

{{- define "ringrift.secret" -}}
{{- default (printf "%s-token" (include "ringrift.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- /* The full name of voter .index, the one that its own hosts file knows from its first moment. */}}
{{- define "ringrift.voterHost" -}}
{{- $name := include "ringrift.fullname" .root }}
{{- printf "%s-voter-%v.%s-voters.%s.svc.%s" $name .index $name .root.Release.Namespace .root.Values.clusterDomain }}
{{- end }}

{{- define "ringrift.voterAddresses" -}}
{{- $root := . }}
{{- $addresses := list }}
{{- range $index := until (int (add .Values.voters.replicas .Values.voters.spares)) }}
{{- $addresses = append $addresses (printf "%s:8770" (include "ringrift.voterHost" (dict "root" $root "index" $index))) }}
{{- end }}
{{- join "," $addresses }}
{{- end }}

{{- define "ringrift.priorityClassName" -}}
{{- if .Values.priorityClass.existingName }}
{{- .Values.priorityClass.existingName }}
{{- else if .Values.priorityClass.create }}
{{- include "ringrift.fullname" . }}
{{- end }}
{{- end }}

{{- /* What all pods have in common: the profile `restricted` of the Pod Security Standards. */}}
{{- define "ringrift.podBase" -}}
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ringrift.priorityClassName" . }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "ringrift.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "ringrift.logEnv" -}}
- name: RINGRIFT_LOG
  value: {{ .Values.log.level | quote }}
- name: RINGRIFT_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- end }}

{{- /* The agent's container, whatever its part. */}}
{{- define "ringrift.agentContainer" -}}
{{- $root := .root }}
- name: agent
  image: {{ include "ringrift.image" $root }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: ["/bin/ringrift-agent"]
  args:
    - --listen=0.0.0.0:8770
    - --data-dir=/data
    {{- toYaml .args | nindent 4 }}
    {{- if $root.Values.auth.insecureNoToken }}
    - --insecure-no-token
    {{- else }}
    - --token-file=/token/token
    {{- end }}
  env:
    {{- include "ringrift.logEnv" $root | nindent 4 }}
    {{- toYaml .env | nindent 4 }}
    - name: HOME
      value: /tmp
  ports:
    - name: http
      containerPort: 8770
    - name: swim
      containerPort: 7947
      protocol: UDP
    {{- if .raft }}
    - name: raft
      containerPort: 4321
    {{- end }}
  readinessProbe:
    httpGet:
      path: /health
      port: http
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 3
  # Whether the process serves, and nothing about the others: a lost majority is no reason to restart.
  livenessProbe:
    tcpSocket:
      port: http
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 6
  securityContext:
    {{- include "ringrift.containerSecurity" $root | nindent 4 }}
  {{- with .resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: data
      mountPath: /data
    - name: tmp
      mountPath: /tmp
    {{- include "ringrift.tokenMount" $root | trim | nindent 4 }}
    {{- with .extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "ringrift.tokenMount" -}}
{{- if not .Values.auth.insecureNoToken }}
- name: token
  mountPath: /token
  readOnly: true
{{- end }}
{{- end }}

{{- define "ringrift.tokenVolume" -}}
{{- if not .Values.auth.insecureNoToken }}
- name: token
  secret:
    secretName: {{ include "ringrift.secret" . }}
    defaultMode: 0440
    items:
      - key: token
        path: token
{{- end }}
{{- end }}

{{- /* A changed token restarts the pods that read it. */}}
{{- define "ringrift.podAnnotations" -}}
{{- $annotations := deepCopy .annotations }}
{{- if .root.Values.auth.token }}
{{- $_ := set $annotations "checksum/token" (sha256sum .root.Values.auth.token) }}
{{- end }}
{{- if $annotations }}
annotations:
  {{- toYaml $annotations | nindent 2 }}
{{- end }}
{{- end }}
