"""The manifests in docs/kubernetes follow Kubernetes' schemas, and agree with the service."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ingest.server.granian import stop_seconds_max
from ingest.settings import read_settings
from tests.dockerfile import only
from tests.paths import ROOT

FOLDER = ROOT / "docs/kubernetes"
KUBERNETES = "1.33"
RESOURCES: list[str] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))["resources"]
SECRET = {
    "INGEST_DATABASE_URL": "mysql://user:pass@one:3306,two:3306/call_events",
    "INGEST_BROKER_URL": "amqp://user:pass@one:5672,two:5672/",
    "INGEST_API_TOKENS": "a-token-of-the-tests",
}


def manifests() -> Iterator[dict[str, Any]]:
    for file in RESOURCES:
        yield from yaml.safe_load_all((FOLDER / file).read_text("utf-8"))


def of_kind(kind: str) -> dict[str, Any]:
    """Return the only manifest of this kind."""
    (found,) = (manifest for manifest in manifests() if manifest["kind"] == kind)
    return found


SET = of_kind("StatefulSet")["spec"]
POD = SET["template"]["spec"]
SERVE = POD["containers"][0]
LABELS = SET["template"]["metadata"]["labels"]


@pytest.mark.parametrize("manifest", list(manifests()), ids=lambda manifest: manifest["kind"])
def test_manifest_follows_kubernetes_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_schema_finds_errors() -> None:
    manifest = of_kind("StatefulSet")
    manifest["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_file_is_applied() -> None:
    assert sorted(RESOURCES) == sorted({file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"})


def test_settings_are_settings_and_fit_the_pod() -> None:
    in_image = dict(word.split("=", 1) for word in only("ENV").words)
    settings = read_settings(in_image | of_kind("ConfigMap")["data"] | SECRET)
    ports = {port["name"]: port["containerPort"] for port in SERVE["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    assert settings.admin_host == "0.0.0.0"
    assert {mount["mountPath"] for mount in SERVE["volumeMounts"]} >= {str(settings.data_dir)}
    assert stop_seconds_max(settings) < POD["terminationGracePeriodSeconds"]
    readiness = SERVE["readinessProbe"]
    assert readiness["periodSeconds"] * (readiness["failureThreshold"] + 1) <= settings.drain_delay_seconds
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == only("USER").arguments


def test_probes_use_paths_of_the_service() -> None:
    paths = {name: SERVE[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_selectors_are_the_pods_labels() -> None:
    selectors = [
        manifest["spec"].get("selector") or manifest["spec"].get("podSelector")
        for manifest in manifests()
        if manifest["kind"] in ("Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy")
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector.get("matchLabels", selector) == LABELS


def test_autoscaler_goes_by_the_sets_own_metrics() -> None:
    scaler = of_kind("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == of_kind("StatefulSet")["metadata"]["name"]
    assert "replicas" not in SET
    (metric,) = (one["pods"]["metric"]["name"] for one in scaler["metrics"] if one["type"] == "Pods")
    assert f"`{metric}`" in (ROOT / "docs/metrics.md").read_text("utf-8")
    assert metric in (FOLDER / "README.md").read_text("utf-8")
