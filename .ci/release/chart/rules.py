"""How the manifests in docs/kubernetes become templates of the chart."""

from typing import NamedTuple

NAME = "{{ .Release.Name | quote }}"
IMAGE = '{{ include "call-events.image" . | quote }}'
LABELS = '  labels:\n    {{- include "call-events.labels" . | nindent 4 }}\n'


class Rule(NamedTuple):
    """Replace whole lines of a manifest. With `block`, the deeper lines that follow the line belong to it."""

    line: str
    template: str
    times: int = 1
    block: bool = False


class Manifest(NamedTuple):
    """A file beside the chart. `condition` is the value that switches it off."""

    name: str
    rules: tuple[Rule, ...]
    condition: str = ""


class Value(NamedTuple):
    """A value of the chart. `source` is `file:key/key` in the manifests; `default` is for what they do not have."""

    name: str
    comment: str
    source: str = ""
    default: object = None


def named(suffix: str = "", template: str = "") -> Rule:
    """The name of an object, with its labels."""
    name = template or (f'"{{{{ .Release.Name }}}}{suffix}"' if suffix else NAME)
    return Rule(f"metadata:\n  name: call-events{suffix}\n", f"metadata:\n  name: {name}\n{LABELS}")


def selected(times: int = 1) -> Rule:
    return Rule("app.kubernetes.io/name: call-events\n", f"app.kubernetes.io/name: {NAME}\n", times)


def filled(line: str, value: str) -> Rule:
    """The value of a key in one line."""
    key, _, _ = line.rpartition(": ")
    return Rule(f"{line}\n", f"{key}: {{{{ {value} }}}}\n")


def dumped(line: str, value: str) -> Rule:
    """A whole block."""
    indent = len(line) - len(line.lstrip()) + 2
    return Rule(f"{line}\n", f"{line}\n{' ' * indent}{{{{- toYaml {value} | nindent {indent} }}}}\n", block=True)


POD = (
    Rule("          image: call-events-ingest\n", f"          image: {IMAGE}\n"),
    Rule("- configMapRef:\n                name: call-events\n", f"- configMapRef:\n                name: {NAME}\n"),
    Rule(
        "- secretRef:\n                name: call-events\n",
        "- secretRef:\n                name: {{ .Values.secret | quote }}\n",
    ),
    Rule(
        "      automountServiceAccountToken: false\n",
        "      {{- with .Values.podSpec }}\n      {{- toYaml . | nindent 6 }}\n      {{- end }}\n"
        "      automountServiceAccountToken: false\n",
    ),
)

FILES = (
    Manifest("config.yaml", (named(), dumped("data:", ".Values.settings"))),
    Manifest(
        "service.yaml",
        (
            named(),
            named("-pods"),
            selected(2),
            filled("      port: 80", ".Values.service.port"),
        ),
    ),
    Manifest(
        "migrate.yaml",
        # Kubernetes never changes a job, so each revision of the release has its own.
        (
            named("-migrate", '"{{ .Release.Name }}-migrate-{{ .Release.Revision }}"'),
            *POD,
            dumped("          resources:", ".Values.migrate.resources"),
        ),
        "migrate.enabled",
    ),
    Manifest(
        "statefulset.yaml",
        (
            named(),
            selected(3),
            *POD,
            Rule("serviceName: call-events-pods\n", 'serviceName: "{{ .Release.Name }}-pods"\n'),
            Rule(
                "  # The autoscaler sets the replicas.\n",
                "  {{- if not .Values.autoscaling.enabled }}\n  replicas: {{ .Values.replicas }}\n  {{- end }}\n",
            ),
            Rule(
                "      annotations:\n",
                "      annotations:\n        # Pods start anew when a setting changes.\n"
                '        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}\n',
            ),
            dumped("          resources:", ".Values.resources"),
            Rule(
                "terminationGracePeriodSeconds: 40 #",
                "terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }} #",
            ),
            filled("            storage: 8Gi", ".Values.storage.size"),
            Rule(
                "        accessModes: [ReadWriteOncePod]\n",
                "        accessModes: {{ toJson .Values.storage.accessModes }}\n"
                "        {{- with .Values.storage.className }}\n        storageClassName: {{ . | quote }}\n"
                "        {{- end }}\n",
            ),
        ),
    ),
    Manifest("disruption.yaml", (named(), selected())),
    Manifest(
        "autoscaling.yaml",
        (
            named(),
            Rule("    kind: StatefulSet\n    name: call-events\n", f"    kind: StatefulSet\n    name: {NAME}\n"),
            filled("  minReplicas: 3", ".Values.autoscaling.minReplicas"),
            filled("  maxReplicas: 12", ".Values.autoscaling.maxReplicas"),
            filled("          averageUtilization: 60", ".Values.autoscaling.cpuPercent"),
        ),
        "autoscaling.enabled",
    ),
    Manifest(
        "network.yaml",
        (
            named(),
            selected(),
            filled(
                "              kubernetes.io/metadata.name: monitoring",
                ".Values.networkPolicy.monitoringNamespace | quote",
            ),
        ),
        "networkPolicy.enabled",
    ),
)

SET = "statefulset.yaml:spec"
VALUES = (
    Value("image.repository", "Your registry's name of the image.", "kustomization.yaml:images/0/newName"),
    Value("image.tag", "The chart's appVersion, unless you name another tag.", default=""),
    Value("image.digest", "sha256:…, which wins over the tag. A signature is of a digest.", default=""),
    Value("secret", "A secret with INGEST_DATABASE_URL, INGEST_BROKER_URL and INGEST_API_TOKENS. The chart makes none.",
          f"{SET}/template/spec/containers/0/envFrom/1/secretRef/name"),
    Value("settings", "Settings that are not secret. Add any variable of docs/settings.md.", "config.yaml:data"),
    Value("replicas", "The number of pods without the autoscaler.", "autoscaling.yaml:spec/minReplicas"),
    Value("resources", "Of a pod. A limit of CPU would make workers answer late.",
          f"{SET}/template/spec/containers/0/resources"),
    Value("podSpec", "More fields of each pod's spec, such as nodeSelector or imagePullSecrets.", default={}),
    Value("terminationGracePeriodSeconds", "Above INGEST_DRAIN_DELAY_SECONDS + INGEST_DRAIN_TIMEOUT_SECONDS + 5.",
          f"{SET}/template/spec/terminationGracePeriodSeconds"),
    Value("storage.size", "Of each pod's volume. It holds the spool, whose limit is in the settings.",
          f"{SET}/volumeClaimTemplates/0/spec/resources/requests/storage"),
    Value("storage.className", "The cluster's default class, if it is empty.", default=""),
    Value("storage.accessModes", "ReadWriteOncePod needs a CSI driver; ReadWriteOnce is for others.",
          f"{SET}/volumeClaimTemplates/0/spec/accessModes"),
    Value("service.port", "The port to which clients post events.", "service.yaml:spec/ports/0/port"),
    Value("migrate.enabled", "A job migrates the database at each installation and upgrade.", default=True),
    Value("migrate.resources", "Of the job's pod.", "migrate.yaml:spec/template/spec/containers/0/resources"),
    Value("autoscaling.enabled", "Scale by CPU and by the backlog's age. Needs the metrics server; see the README.",
          default=True),
    Value("autoscaling.minReplicas", "", "autoscaling.yaml:spec/minReplicas"),
    Value("autoscaling.maxReplicas", "", "autoscaling.yaml:spec/maxReplicas"),
    Value("autoscaling.cpuPercent", "", "autoscaling.yaml:spec/metrics/0/resource/target/averageUtilization"),
    Value("networkPolicy.enabled", "Only the monitoring namespace reaches the admin port.", default=True),
    Value("networkPolicy.monitoringNamespace", "",
          "network.yaml:spec/ingress/1/from/0/namespaceSelector/matchLabels/kubernetes.io~metadata.name"),
)  # fmt: skip
