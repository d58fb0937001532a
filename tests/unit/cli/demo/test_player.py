"""The player keeps its rate, goes on after an outage, and gives up with words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest

from ingest.cli.demo.pbx import Pbx
from ingest.cli.demo.player import DemoFailed, Player
from ingest.cli.send.service import NoAnswer, Reply
from ingest.cli.send.waiting import Contact
from tests.unit.cli.send.fakes import URL, FakeTime, reply

RATE = 10
QUEUED = reply(200, {"status": "queued"})
BUSY = reply(503, {"message": "Too many events wait."}, wait_seconds=7.0)
NO_SERVICE = NoAnswer("no answer: Connection refused")


class FakeService:
    """Gives these answers first, then takes every event. `slow_answers` are seconds by the number of the request."""

    url = URL

    def __init__(self, time: FakeTime, answers: list[Reply | NoAnswer]) -> None:
        self._time = time
        self._answers = answers
        self.slow_answers: dict[int, float] = {}
        self.posted: list[tuple[float, str]] = []
        """Time and idempotency key."""

    def post(self, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.posted.append((self._time.seconds, headers["idempotency-key"]))
        self._time.seconds += self.slow_answers.get(len(self.posted), 0.0)
        answer = self._answers.pop(0) if self._answers else QUEUED
        if isinstance(answer, NoAnswer):
            raise answer
        return answer


class Scene:
    def __init__(self, *answers: Reply | NoAnswer) -> None:
        self.time = FakeTime()
        self.told: list[str] = []
        self.service = FakeService(self.time, list(answers))
        contact = Contact(URL, self.told.append)
        pbx = Pbx(100, Random(1))
        self.player = Player(
            pbx, self.service, RATE, self.time, contact, self.time.monotonic, lambda: datetime.now(UTC)
        )

    def play(self, seconds: float) -> float:
        return self.player.play(seconds, lambda _: None)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.service.posted]


def test_events_are_posted_at_the_rate_for_the_duration() -> None:
    scene = Scene()

    assert scene.play(10) == pytest.approx(10, abs=0.2)
    assert scene.player.accepted == pytest.approx(100, abs=1)
    assert scene.player.summary(10).startswith(f"{scene.player.accepted} events accepted in 10 s")


def test_delay_is_not_caught_up() -> None:
    scene = Scene()
    scene.service.slow_answers[10] = 5.0

    scene.play(10)

    later = [time for time in scene.times if time > scene.times[9]]
    assert len(later) == pytest.approx((10 - 1 - 5) * RATE, abs=2)
    assert min(after - before for before, after in pairwise(later)) == pytest.approx(1 / RATE)


def test_refused_event_is_sent_again_after_the_time_that_the_service_asks_for() -> None:
    scene = Scene(QUEUED, BUSY)
    scene.play(10)

    (_, _), (refused_at, refused), (again_at, again) = scene.service.posted[:3]
    assert again == refused
    assert again_at - refused_at == pytest.approx(7)
    assert scene.player.refused == 1
    assert len(scene.told) == 2  # the begin and the end of the outage


def test_outage_is_outlasted() -> None:
    scene = Scene(QUEUED, *[NO_SERVICE] * 3)
    scene.play(20)

    assert scene.player.refused == 3
    assert "tries again" in scene.told[0]
    assert len({key for _, key in scene.service.posted[1:5]}) == 1


def test_wrong_token_ends_the_demo_with_words() -> None:
    with pytest.raises(DemoFailed, match=r"does not know the token.*CALL_EVENTS_TOKEN"):
        Scene(reply(401)).play(10)


def test_other_server_ends_the_demo() -> None:
    with pytest.raises(DemoFailed, match=r"answered 404: no such page. Is this the address for events"):
        Scene(reply(404, {"message": "no such page"})).play(10)


def test_missing_service_is_explained() -> None:
    with pytest.raises(DemoFailed, match=r"Connection refused. Start the service first"):
        Scene(NO_SERVICE).play(10)


@pytest.mark.parametrize("answers", [[], [QUEUED, *[NO_SERVICE] * 1000]], ids=["playing", "waiting"])
def test_user_can_stop(answers: list[Reply | NoAnswer]) -> None:
    scene = Scene(*answers)

    def stop() -> None:
        scene.time.is_stopped = True

    scene.time.step = stop
    scene.play(1000)

    assert len(scene.times) <= 2
