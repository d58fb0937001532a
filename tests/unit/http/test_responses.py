import json
from typing import Any

import pytest

from ingest import errors
from ingest.http.responses import QUEUED, RETRY_AFTER_SECONDS, STATUSES, Response, response_to


def headers(response: Response) -> dict[str, str]:
    return dict(response.headers)


def content(response: Response) -> Any:
    return json.loads(response.body)


def all_errors() -> list[type[errors.IngestError]]:
    classes: list[type[errors.IngestError]] = [errors.IngestError]
    for known in classes:
        classes += [sub for sub in known.__subclasses__() if sub.__module__ == errors.__name__]
    return classes


def test_success_has_exactly_this_response() -> None:
    assert QUEUED.status == 200
    assert QUEUED.body == b'{"status":"queued"}'
    assert headers(QUEUED) == {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Unauthenticated(), 401),
        (errors.Malformed(), 400),
        (errors.Invalid({}), 422),
        (errors.RowRefused(), 422),
        (errors.BodyTooLarge(), 413),
        (errors.BodyTimeout(), 408),
        (errors.UnsupportedEncoding(), 415),
        (errors.MethodNotAllowed("POST"), 405),
        (errors.Overloaded(), 503),
        (errors.Draining(), 503),
        (errors.StoreError(), 500),
        (errors.StoreUnavailable(), 500),
        (errors.SchemaError(), 500),
        (errors.IngestError(), 500),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_each_error_has_its_status_and_a_message(error: errors.IngestError, status: int) -> None:
    response = response_to(error)

    assert response.status == status
    assert content(response)["message"]
    assert headers(response)["content-type"] == "application/json"


def test_every_refusal_has_a_status() -> None:
    refusals = [error for error in all_errors() if issubclass(error, errors.Rejected) and error is not errors.Rejected]

    assert [error for error in refusals if error not in STATUSES] == []


def test_codes_are_unique() -> None:
    codes = [error.code for error in all_errors()]

    assert len(codes) == len(set(codes))


def test_invalid_event_gets_the_response_of_laravel() -> None:
    response = response_to(errors.Invalid({"call_id": ["The call id field is required."]}))

    assert content(response) == {
        "message": "The given data was invalid.",
        "errors": {"call_id": ["The call id field is required."]},
    }


def test_event_that_the_database_refuses_is_invalid_too() -> None:
    response = content(response_to(errors.RowRefused("MySQL error 3141: Invalid JSON text.")))

    assert response["message"] == "The given data was invalid."
    assert "Invalid JSON text" in response["errors"]["payload"][0]


def test_unauthenticated_gets_the_response_of_laravel() -> None:
    response = response_to(errors.Unauthenticated())

    assert content(response) == {"message": "Unauthenticated."}
    assert headers(response)["www-authenticate"]


def test_wrong_method_lists_the_allowed_one() -> None:
    assert headers(response_to(errors.MethodNotAllowed("POST")))["allow"] == "POST"


@pytest.mark.parametrize("error", [errors.Overloaded(), errors.Draining()])
def test_overload_says_when_to_retry(error: errors.IngestError) -> None:
    assert headers(response_to(error))["retry-after"] == str(RETRY_AFTER_SECONDS)


@pytest.mark.parametrize("error", [errors.Draining(), errors.BodyTooLarge(), errors.BodyTimeout()])
def test_unusable_connection_is_closed(error: errors.IngestError) -> None:
    assert headers(response_to(error))["connection"] == "close"
