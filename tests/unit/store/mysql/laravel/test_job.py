"""Laravel's jobs: the event is found by its content, in whatever form the job holds it."""

import json

import pytest

from ingest.store.mysql.laravel.job import PendingEvent, UnreadableJob, as_php_json, event_in, same_event

CLASS = "App\\Jobs\\SendCallEventToRabbitJob"
EVENT = {"call_id": "a/1", "event_type": "call_ended", "duration": 40}
BODY = b'{"call_id":"a\\/1","event_type":"call_ended","duration":40}'
ARRAY = 'a:3:{s:7:"call_id";s:3:"a/1";s:10:"event_type";s:10:"call_ended";s:8:"duration";i:40;}'
SMALL = b'{"call_id":"c","event_type":"t"}'
OWN = 's:5:"queue";s:11:"call-events";s:10:"connection";N;s:5:"delay";N;'
MODEL = (
    'O:45:"Illuminate\\Contracts\\Database\\ModelIdentifier":4:{s:5:"class";s:18:"App\\Models\\CallLog";'
    's:2:"id";i:7;s:9:"relations";a:0:{}s:10:"connection";s:5:"mysql";}'
)


def text(value: str) -> str:
    return f's:{len(value.encode())}:"{value}";'


def command(count: int, properties: str, name: str = CLASS) -> str:
    return f'O:{len(name)}:"{name}":{count}:{{{properties}}}'


def queued(serialized: str, name: str = CLASS) -> str:
    return json.dumps({"displayName": name, "data": {"commandName": name, "command": serialized}})


@pytest.mark.parametrize(
    ("serialized", "expected"),
    [
        (command(4, f's:8:"\0*\0event";{ARRAY}{OWN}'), PendingEvent(BODY)),
        (command(4, text("body") + text(BODY.decode()) + OWN), PendingEvent(BODY)),
        (
            command(2, 's:7:"call_id";s:1:"c";s:10:"event_type";s:1:"t";'),
            PendingEvent(b'{"call_id":"c","event_type":"t"}'),
        ),
        (command(4, f's:3:"log";{MODEL}{OWN}'), PendingEvent(None, 7)),
        (command(2, f's:3:"log";{MODEL}s:4:"data";{ARRAY}'), PendingEvent(BODY, 7)),
        (command(4, f's:9:"callLogId";i:9;{OWN}'), PendingEvent(None, 9)),
    ],
    ids=["array", "json", "single values", "model", "model and array", "id"],
)
def test_event_is_found_in_the_jobs_properties(serialized: str, expected: PendingEvent) -> None:
    assert event_in(queued(serialized)) == expected


@pytest.mark.parametrize(
    ("serialized", "reason"),
    [
        ("eyJpdiI6IjEyMyJ9", "encrypted"),
        (command(1, 's:1:"a";i:1;'), "its properties are a"),
        (command(2, f's:1:"a";{MODEL}s:1:"b";{MODEL.replace("i:7;", "i:8;")}'), "not one row"),
        (command(1, f's:3:"log";{MODEL.replace("i:7;", "a:1:{i:0;i:7;}")}'), "several models"),
        (command(1, 's:1:"a";r:1;'), "cannot be read"),
        (command(1, f's:1:"a";{ARRAY}', "App\\Jobs\\Other"), "another class"),
        (command(1, 's:1:"a";' + ARRAY.replace("i:40;", 'O:6:"Carbon":0:{}')), "holds an object of Carbon"),
    ],
    ids=lambda value: value[:12],
)
def test_job_without_one_certain_event_is_refused(serialized: str, reason: str) -> None:
    with pytest.raises(UnreadableJob, match=reason):
        event_in(queued(serialized))


@pytest.mark.parametrize("payload", ["", "[]", "{", '{"data": 1}', '{"data": {}}', queued("O:1:", "App\\Jobs\\Other")])
def test_job_of_another_class_is_left_alone(payload: str) -> None:
    assert event_in(payload) is None


def test_name_of_another_job_may_be_given() -> None:
    name = "App\\Jobs\\PublishCallEvent"

    assert event_in(queued(command(1, f's:1:"a";{ARRAY}', name), name), "PublishCallEvent") == PendingEvent(BODY)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({0: "a", 1: "b"}, b'["a","b"]'),
        ({1: "a"}, b'{"1":"a"}'),
        ({"a": "ə/"}, b'{"a":"\\u0259\\/"}'),
        ({"a": 2.0, "b": 0.5, "c": None, "d": True}, b'{"a":2,"b":0.5,"c":null,"d":true}'),
    ],
)
def test_array_is_written_as_php_writes_it(value: dict[int | str, object], written: bytes) -> None:
    assert as_php_json(value) == written  # type: ignore[arg-type] # mypy does not widen the values


def test_events_are_the_same_if_all_shared_fields_are() -> None:
    assert same_event(EVENT, {**EVENT, "ip": "10.0.0.1"})
    assert not same_event(EVENT, {**EVENT, "duration": 41})
    assert not same_event(EVENT, {"call_id": "a/1"})
