"""Routing keys: what a template may be, and what becomes of clients' values in a key."""

import re

import pytest

from ingest.events.event import Event
from ingest.events.routing_key import KEY_BYTES_MAX, Destination, RoutingKey, word_of

ALL = "calls.{client}.{token}.{event_type}"


def event(event_type: str = "call_started", **headers: str) -> Event:
    return Event("call-1", event_type, b"{}", None, headers or None)


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{event_type}", "call_started"),
        ("calls", "calls"),
        ("calls.{event_type}", "calls.call_started"),
        ("{token}-{client}/{event_type}", "crm-twilio/call_started"),
        ("{event_type}{event_type}", "call_startedcall_started"),
        ("звонки.{token}", "звонки.crm"),
    ],
)
def test_key_is_the_template_with_the_values_of_the_event(template: str, key: str) -> None:
    assert RoutingKey.parse(template).of(event(token="crm", client="twilio")) == key


def test_event_without_headers_has_the_names_of_the_configured_tokens_and_of_the_api() -> None:
    """An outbox entry of an older version is such an event."""
    assert RoutingKey.parse(ALL).of(event()) == "calls.api.configured.call_started"
    assert RoutingKey.parse(ALL).of(event(traceparent="00-…")) == "calls.api.configured.call_started"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("call.ended", "call_ended"),
        ("*", "_"),
        ("a#b c\td\ne\0f", "a_b_c_d_e_f"),
        ("...", "___"),
        ("", "_"),
        ("Звонок-1:2/3", "Звонок-1:2/3"),
        ("x" * 65, "x" * 64),
        ("☎" * 64, "☎" * 21),
    ],
)
def test_value_of_a_client_is_one_word_that_a_binding_can_name(value: str, word: str) -> None:
    assert word_of(value) == word


def test_every_key_of_a_valid_template_fits_the_protocol() -> None:
    longest = RoutingKey.parse("x" * (KEY_BYTES_MAX - 3 * 64) + "{event_type}{token}{client}")

    assert len(longest.of(event("☎" * 64, token="t" * 64, client="c" * 64)).encode()) <= KEY_BYTES_MAX
    with pytest.raises(ValueError, match="may have 256 bytes"):
        RoutingKey.parse("x" * (KEY_BYTES_MAX - 3 * 64 + 1) + "{event_type}{token}{client}")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{call_id}", "{call_id} is no value of an event: use {event_type}, {token}, {client}"),
        ("{}", "{} is no value of an event"),
        ("{event_type", "a { or } belongs to no value"),
        ("event_type}", "a { or } belongs to no value"),
        ("calls.*", "wildcards belong to the bindings of queues"),
        ("#", "wildcards"),
        ("calls {event_type}", "cannot be in a key"),
        ("", "empty"),
    ],
)
def test_wrong_template_is_explained(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        RoutingKey.parse(template)


@pytest.mark.parametrize("template", ["{event_type}", "{token}", ALL])
def test_events_that_are_not_distinguished_have_the_same_key(template: str) -> None:
    key = RoutingKey.parse(template)
    events = [event(kind, token=token) for kind in ("call_started", "call_ended") for token in ("a", "b")]
    events.append(event())
    pairs = list(zip(key.distinguish(events), map(key.of, events), strict=True))

    for one, key_of_one in pairs:
        for other, key_of_other in pairs:
            if one == other or template == ALL:
                assert (key_of_one == key_of_other) == (one == other)


def test_queue_is_named_as_it_is() -> None:
    destination = Destination.of_queue("calls.{event_type}*")

    assert (destination.exchange, destination.key.of(event())) == ("", "calls.{event_type}*")
    assert destination.key.names == ()
