"""The benchmark of peers: checks of honesty, the end of a drain, and ratios."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.events import bodies
from bench.harness.rounds import Round
from bench.harness.targets import BenchFailed
from bench.peers.deployment import FOLDER, filled
from bench.peers.honesty import QUEUED, compare, expect
from bench.peers.run import HEAD, per_row, ratios, row
from bench.peers.stand import Steady
from bench.peers.starting import FOLDER as PEERS
from bench.peers.starting import KINDS

SENT = bodies(3)
Row = tuple[str, str, str, str]
Message = tuple[str, int, bytes]


def row_of(row_id: str, body: bytes) -> Row:
    event = json.loads(body)
    return row_id, event["call_id"], event["event_type"], body.decode()


ROWS = [row_of(str(number), body) for number, body in enumerate(SENT)]
MESSAGES: list[Message] = [(str(number), 2, body) for number, body in enumerate(SENT)]


def round_with(service_us: float, per_second: float = 500.0, events: int = 1000) -> Round:
    return Round(events, 0, per_second, 1.0, 5.0, {"service": service_us, "generator": 10.0}, 0.5)


def test_peer_is_honest_if_each_body_is_a_row_and_a_persistent_message_in_any_order() -> None:
    compare(SENT, ROWS, MESSAGES[::-1])


@pytest.mark.parametrize(
    ("rows", "messages", "reason"),
    [
        pytest.param(ROWS, MESSAGES[:2], "2 messages", id="lost message"),
        pytest.param(ROWS, [*MESSAGES, MESSAGES[0]], "4 messages", id="repeated message"),
        pytest.param(ROWS, [*MESSAGES[:2], ("2", 2, b"{}")], "other bodies", id="other body"),
        pytest.param(ROWS, [*MESSAGES[:2], ("2", 1, SENT[2])], "not persistent", id="transient message"),
        pytest.param(ROWS, [*MESSAGES[:2], ("9", 2, SENT[2])], "not the messages", id="other id"),
        pytest.param(ROWS[:2], MESSAGES, "not the messages", id="lost row"),
        pytest.param([*ROWS[:2], ("2", "x", "call_ended", ROWS[2][3])], MESSAGES, "columns", id="wrong column"),
    ],
)
def test_peer_that_cheats_is_refused(rows: list[Row], messages: list[Message], reason: str) -> None:
    with pytest.raises(BenchFailed, match=reason):
        compare(SENT, rows, messages)


def test_answer_is_compared_as_json() -> None:
    expect((200, b'{ "status": "queued" }'), 200, QUEUED)
    expect((422, b'{"message": "whatever"}'), 422)


@pytest.mark.parametrize("answer", [(201, b'{"status":"queued"}'), (200, b'{"status":"ok"}'), (200, b"queued")])
def test_unexpected_answer_is_refused(answer: tuple[int, bytes]) -> None:
    with pytest.raises(BenchFailed):
        expect(answer, 200, QUEUED)


def test_depth_is_steady_only_after_it_was_the_same_for_the_whole_time() -> None:
    now = 0.0
    depths: Iterator[int] = iter([5, 5, 6, 6, 6])
    steady = Steady(lambda: next(depths), quiet_seconds=2.0, clock=lambda: now)

    said = []
    for now in (0.0, 1.0, 2.0, 3.0, 4.0):  # noqa: B007 - the clock reads it
        said.append(steady())

    assert said == [False, False, False, False, True]


def test_cpu_time_is_divided_by_all_stored_rows() -> None:
    made = per_row(round_with(100.0, events=800), rows=1000)

    assert made.cpu_us == pytest.approx({"service": 80.0, "generator": 8.0})
    assert (made.events, made.per_second) == (800, 500.0)


def test_ratios_are_taken_between_neighbours_in_time() -> None:
    ours, own = [round_with(50.0), round_with(100.0)], [round_with(100.0), round_with(400.0)]

    assert ratios(ours, own) == pytest.approx([0.5, 0.25])


def test_table_shows_both_ratios_with_their_spread() -> None:
    ours = [round_with(50.0, 800.0), round_with(240.0, 600.0), round_with(88.0, 1000.0)]
    shown = row("go", [round_with(100.0, 400.0), round_with(120.0, 600.0), round_with(110.0)], ours)

    assert len(shown) == len(HEAD)
    assert shown[:3] == ["go", "500 (400-600)", "110.0"]
    assert shown[-2:] == ["0.8 (0.5-2)", "2 (1-2)"]
    assert row("ours", ours, ours)[-2:] == ["-", "-"]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.in")), ids=lambda file: file.name)
def test_configuration_fills_every_name(file: Path) -> None:
    values = {"user": "", "folder": "/folder", "port": "8000", "root": "/root"}

    assert "@" not in filled(file.read_text(), values)


def test_readme_describes_every_peer_and_says_which_give_up_nothing() -> None:
    lines = (PEERS / "README.md").read_text().splitlines()
    described = {line.split("[")[1].split("]")[0]: line for line in lines if line.startswith("| [")}

    assert list(described) == list(KINDS)
    assert all("gives up nothing" in described[name] for name, kind in KINDS.items() if kind.outbox)
