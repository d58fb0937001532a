import json
import shlex
from typing import Any

import jsonschema
import pytest

from ingest.errors import UnknownSource
from ingest.http import openapi
from ingest.http.openapi import SERVER, SOURCE_PATH
from ingest.http.openapi_schemas import EXAMPLE
from ingest.http.reading.openapi import EXAMPLE_ID
from ingest.http.responses import QUEUED, STATUSES
from tests.unit.making import ABSENT, body

SOURCES = ("asterisk", "twilio")


def document() -> dict[str, Any]:
    return openapi.document(SOURCES)


POSTS = [path for path, methods in document()["paths"].items() if "requestBody" in methods.get("post", {})]


def event_schema() -> dict[str, Any]:
    return {**document()["components"]["schemas"]["CallEvent"], "components": document()["components"]}


def test_document_is_plain_json() -> None:
    assert json.loads(json.dumps(document())) == document()
    assert document()["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", POSTS)
def test_every_status_of_an_error_is_described(path: str) -> None:
    described = set(document()["paths"][path]["post"]["responses"])

    of_sources = {str(STATUSES[UnknownSource])}
    usual = {"200", "500", *map(str, STATUSES.values())} - of_sources
    assert described == (usual | of_sources | {"204"} if path == SOURCE_PATH else usual)


@pytest.mark.parametrize("path", POSTS)
def test_every_schema_is_valid(path: str) -> None:
    post = document()["paths"][path]["post"]
    contents = [post["requestBody"], *post["responses"].values()]

    for content in contents:
        for media in content.get("content", {}).values():
            jsonschema.Draft202012Validator.check_schema(media["schema"])


def test_example_and_response_match_their_schemas() -> None:
    schema = document()["paths"][POSTS[0]]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    jsonschema.validate(json.loads(QUEUED.body), schema)
    jsonschema.validate(EXAMPLE, event_schema())


def test_every_body_has_an_example_that_matches_its_schema() -> None:
    for path in POSTS:
        post = document()["paths"][path]["post"]
        if path == SOURCE_PATH:  # each telephony server expects another body
            post = {**post, "responses": {**post["responses"], "200": {}}}
        for name, content in {"body": post["requestBody"], **post["responses"]}.items():
            for media in content.get("content", {}).values():
                assert "example" in media, (path, name)
                jsonschema.validate(media["example"], {**media["schema"], "components": document()["components"]})


def test_every_operation_has_its_own_curl_command() -> None:
    for path, methods in document()["paths"].items():
        for operation in methods.values():
            (sample,) = operation["x-codeSamples"]
            assert SERVER + path.format(source="asterisk", id=EXAMPLE_ID) in shlex.split(sample["source"])


@pytest.mark.parametrize(
    "changes",
    [{"call_id": ABSENT}, {"call_id": ""}, {"call_id": "x" * 256}, {"event_type": 1}, {"duration": -1}],
    ids=str,
)
def test_schema_refuses_what_the_service_refuses(changes: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(body(**changes)), event_schema())


def test_sources_are_described_by_their_names() -> None:
    source, _ = document()["paths"][SOURCE_PATH]["post"]["parameters"]

    assert source["schema"] == {"enum": list(SOURCES)}
    assert SOURCE_PATH not in openapi.document()["paths"]


def test_address_of_events_is_named_only_if_it_is_another() -> None:
    (server,) = openapi.document(SOURCES, "https://{host}:8000")["servers"]

    assert server["url"] == "https://{host}:8000"
    assert set(server["variables"]) == {"host"}
    assert "servers" not in document()
