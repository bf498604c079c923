{{- /* The operator's configuration: operator/modelramp/settings.py says what each variable is. */}}
{{- define "modelramp.env" -}}
{{- $router := .Values.router.resources -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: MODELRAMP_LEASE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: MODELRAMP_LEASE_NAME, value: {{ include "modelramp.fullname" . | quote }}}
- {name: MLFLOW_TRACKING_URI, value: {{ required "mlflow.uri is not set: the MLflow server's address, such as http://mlflow.mlflow.svc:5000" .Values.mlflow.uri | quote }}}
- {name: MODELRAMP_JOURNAL, value: {{ .Values.mlflow.journal.enabled | quote }}}
- {name: MODELRAMP_ALIAS_STABLE, value: {{ .Values.mlflow.journal.aliases.stable | default "none" | quote }}}
- {name: MODELRAMP_ALIAS_CANDIDATE, value: {{ .Values.mlflow.journal.aliases.candidate | default "none" | quote }}}
- {name: MODELRAMP_PROMETHEUS_URL, value: {{ required "prometheus.url is not set: Prometheus' address, such as http://prometheus.monitoring.svc:9090" .Values.prometheus.url | quote }}}
{{- if .Values.prometheus.tokenSecret }}
- {name: MODELRAMP_PROMETHEUS_TOKEN_FILE, value: /etc/modelramp/prometheus-token/token}
{{- end }}
{{- if .Values.prometheus.caSecret }}
- {name: MODELRAMP_PROMETHEUS_CA_FILE, value: /etc/modelramp/prometheus-ca/ca.crt}
{{- end }}
- {name: MODELRAMP_OPERATOR_IMAGE, value: {{ include "modelramp.image" (dict "image" .Values.image "tag" .Chart.AppVersion) | quote }}}
- {name: MODELRAMP_RUNTIME_IMAGE, value: {{ include "modelramp.image" (dict "image" .Values.runtime.image "tag" .Chart.AppVersion) | quote }}}
- {name: MODELRAMP_ROUTER_IMAGE, value: {{ include "modelramp.image" (dict "image" .Values.router.image "tag" "") | quote }}}
- {name: MODELRAMP_IMAGE_PULL_POLICY, value: {{ .Values.image.pullPolicy | quote }}}
- {name: MODELRAMP_ROUTER_CPU, value: {{ $router.requests.cpu | quote }}}
- {name: MODELRAMP_ROUTER_MEMORY, value: {{ $router.requests.memory | quote }}}
- {name: MODELRAMP_ROUTER_MEMORY_LIMIT, value: {{ $router.limits.memory | quote }}}
{{- if .Values.runtimes }}
- {name: MODELRAMP_RUNTIMES, value: /etc/modelramp/runtimes}
{{- end }}
{{- with .Values.namespaces }}
- {name: MODELRAMP_NAMESPACES, value: {{ join "," . | quote }}}
{{- end }}
- {name: MODELRAMP_PROMOTION_POLICIES, value: {{ .Values.promotionPolicies.enabled | quote }}}
- {name: MODELRAMP_ADMISSION, value: {{ .Values.admission.enabled | quote }}}
- {name: MODELRAMP_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
- {name: MODELRAMP_WORKERS, value: {{ .Values.workers | quote }}}
- {name: HOME, value: /tmp}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
