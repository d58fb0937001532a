"""The Helm chart, rendered by Helm's own library: with its defaults it gives the objects of the kustomize manifests."""

from collections.abc import Iterator
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from ingest.server.granian import stop_seconds_max
from ingest.settings import read_settings
from tests.dockerfile import only
from tests.paths import ROOT
from tests.unit.project.test_kubernetes import FOLDER, KUBERNETES, SECRET, manifests

CHART = FOLDER / "chart"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
OWN_LABELS = {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
DIGEST = f"sha256:{'0a' * 32}"
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "nothing optional": {
        "autoscaling": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "migrate": {"enabled": False},
        "replicas": 1,
    },
    "another cluster": {
        "image": {"repository": "registry.example/call-events", "digest": DIGEST},
        "secret": "our-secret",
        "settings": {"INGEST_RETENTION_DAYS": "30", "INGEST_QUEUE": "true"},
        "podSpec": {"nodeSelector": {"disk": "ssd"}, "imagePullSecrets": [{"name": "registry"}]},
        "storage": {"size": "100Gi", "className": "fast", "accessModes": ["ReadWriteOnce"]},
        "service": {"port": 8080},
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4, "cpuPercent": 80},
        "networkPolicy": {"monitoringNamespace": "prometheus"},
        "resources": {"limits": {"memory": "2Gi"}},
    },
}


def rendered(values: dict[str, Any], name: str = "call-events") -> Iterator[dict[str, Any]]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="call-events")
    for file, text in files.items():
        if file.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


def of_kind(kind: str, values: dict[str, Any], name: str = "call-events") -> dict[str, Any]:
    return next(one for one in rendered(values, name) if one["kind"] == kind)


def as_kustomize_applies(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the labels and the image of `kustomization.yaml`."""
    (labels,), (image,) = KUSTOMIZATION["labels"], KUSTOMIZATION["images"]
    manifest["metadata"]["labels"] = labels["pairs"]
    for container in (
        manifest["spec"].get("template", {}).get("spec", {}).get("containers", []) if "spec" in manifest else ()
    ):
        assert container["image"] == image["name"]
        container["image"] = f"{image['newName']}:{image['newTag']}"
    return manifest


def without_helms_additions(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the object without what only a release has: its labels, its revision, the checksum of its settings."""
    labels = manifest["metadata"]["labels"]
    manifest["metadata"]["labels"] = {name: labels[name] for name in labels.keys() - OWN_LABELS}
    if manifest["kind"] == "Job":
        manifest["metadata"]["name"] = manifest["metadata"]["name"].removesuffix("-1")
    if manifest["kind"] == "StatefulSet":
        del manifest["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    return manifest


def by_name(objects: Iterator[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def test_defaults_give_what_kustomize_applies() -> None:
    assert by_name(map(without_helms_additions, rendered({}))) == by_name(map(as_kustomize_applies, manifests()))


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_rendered_objects_follow_kubernetes_schema(values: dict[str, Any]) -> None:
    for one in rendered(values, "pbx-events"):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_helm_finds_no_error_in_the_chart() -> None:
    found = helm.lint(CHART)
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


def test_two_releases_share_no_name_and_no_pod() -> None:
    one, two = (list(rendered({}, name)) for name in ("pbx-one", "pbx-two"))
    names = [{(each["kind"], each["metadata"]["name"]) for each in release} for release in (one, two)]
    assert not names[0] & names[1]
    assert "pbx-one" not in yaml.safe_dump_all(two)
    assert of_kind("Service", {}, "pbx-one")["spec"]["selector"] == {"app.kubernetes.io/name": "pbx-one"}


def test_values_reach_their_fields() -> None:
    values = VALUES["another cluster"]
    pod = of_kind("StatefulSet", values)["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == f"registry.example/call-events@{DIGEST}"
    assert container["envFrom"][1] == {"secretRef": {"name": "our-secret"}}
    assert container["resources"] == {"limits": {"memory": "2Gi"}, "requests": {"cpu": "1", "memory": "512Mi"}}
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["securityContext"]["runAsUser"] == 10001
    claim = of_kind("StatefulSet", values)["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"]["storage"] == "100Gi"
    assert of_kind("Service", values)["spec"]["ports"][0]["port"] == 8080
    assert of_kind("HorizontalPodAutoscaler", values)["spec"]["maxReplicas"] == 4


def test_settings_stay_text_and_start_the_pods_anew() -> None:
    settings = of_kind("ConfigMap", VALUES["another cluster"])["data"]
    assert (settings["INGEST_RETENTION_DAYS"], settings["INGEST_QUEUE"]) == ("30", "true")
    in_image = dict(word.split("=", 1) for word in only("ENV").words)
    assert stop_seconds_max(read_settings(in_image | settings | SECRET)) < 40
    checksums = {
        of_kind("StatefulSet", values)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for values in VALUES.values()
    }
    assert len(checksums) == 2


def test_set_without_the_autoscaler_has_its_replicas() -> None:
    kinds = {one["kind"] for one in rendered(VALUES["nothing optional"])}
    assert kinds == {"ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget"}
    assert of_kind("StatefulSet", VALUES["nothing optional"])["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 0},
        {"settings": {"INGEST_API_TOKENS": "a-secret"}},
        {"settings": {"INGEST_WORKERS": 2}},
        {"settings": {"INGEST_ADMIN_PORT": "9000"}},
        {"settings": {"WORKERS": "2"}},
        {"podSpec": {"volumes": []}},
        {"image": {"digest": "latest"}},
        {"storage": {"size": "much"}},
        {"replica": 3},
    ],
    ids=str,
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.render(values)


def test_chart_has_the_version_of_the_image() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["version"] == chart["appVersion"] == KUSTOMIZATION["images"][0]["newTag"]
    assert (ROOT / "ingest" / "__init__.py").read_text("utf-8").count(f'"{chart["version"]}"') == 1
