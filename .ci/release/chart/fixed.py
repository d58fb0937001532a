"""Files of the chart that no manifest holds: its description, helpers, notes and the schema of its values."""

import json
from typing import Any

CHART = """apiVersion: v2
name: call-events
description: Call events from telephony servers, durable in MySQL and published to RabbitMQ
type: application
version: @VERSION@
appVersion: "@VERSION@"
kubeVersion: ">=1.29.0-0"
"""

HELPERS = """{{- define "call-events.labels" -}}
app.kubernetes.io/part-of: call-events
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "call-events.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}
"""

NOTES = """Telephony servers post events to this address:

  http://{{ .Release.Name }}.{{ .Release.Namespace }}:{{ .Values.service.port }}/api/call-events

The pods need the secret {{ .Values.secret }} with INGEST_DATABASE_URL, INGEST_BROKER_URL and INGEST_API_TOKENS.
The first pods become ready after the job {{ .Release.Name }}-migrate-{{ .Release.Revision }} has made the tables.
"""

SECRETS = (
    "INGEST_DATABASE_URL",
    "INGEST_BROKER_URL",
    "INGEST_STREAM_URL",
    "INGEST_API_TOKENS",
    "INGEST_CLIENT_SECRETS",
)
"""A ConfigMap would show their values to more people than a secret does."""
OWN_FIELDS = [
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "restartPolicy",
    "securityContext",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
    "volumes",
]
"""Fields of a pod that the templates set. YAML takes no key twice."""


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


POSITIVE = {"type": "integer", "minimum": 1}
NAME = {"type": "string", "minLength": 1}
RESOURCES = {"type": "object", "propertyNames": {"enum": ["requests", "limits", "claims"]}}
SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **_object(
        image=_object(
            repository=NAME,
            tag={"type": "string"},
            digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        ),
        secret=NAME,
        settings={
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^INGEST_[A-Z0-9_]+$", "not": {"enum": [*SECRETS, "INGEST_PORT"]}},
            # Probes, service and network policy name this port.
            "properties": {"INGEST_ADMIN_PORT": {"const": "8001"}},
            "required": ["INGEST_ADMIN_PORT"],
        },
        replicas=POSITIVE,
        resources=RESOURCES,
        podSpec={"type": "object", "propertyNames": {"not": {"enum": OWN_FIELDS}}},
        terminationGracePeriodSeconds=POSITIVE,
        storage=_object(
            size={"type": "string", "pattern": "^[0-9]+([KMGTPE]i?)?$"},
            className={"type": "string"},
            accessModes={"type": "array", "items": NAME, "minItems": 1},
        ),
        service=_object(port={**POSITIVE, "maximum": 65535}),
        migrate=_object(enabled={"type": "boolean"}, resources=RESOURCES),
        autoscaling=_object(
            enabled={"type": "boolean"},
            minReplicas=POSITIVE,
            maxReplicas=POSITIVE,
            cpuPercent={**POSITIVE, "maximum": 100},
        ),
        networkPolicy=_object(enabled={"type": "boolean"}, monitoringNamespace=NAME),
    ),
}
SCHEMA["properties"]["global"] = {"type": "object"}  # Helm gives it to every chart


def fixed_files(version: str) -> dict[str, str]:
    """Return path below the chart → text."""
    return {
        "Chart.yaml": CHART.replace("@VERSION@", version),
        "values.schema.json": json.dumps(SCHEMA, indent=2) + "\n",
        "templates/_helpers.tpl": HELPERS,
        "templates/NOTES.txt": NOTES,
    }
