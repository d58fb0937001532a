"""Which messages may be the reason why the broker closed a channel, and which of them it never takes. Pure.

A message is suspected by evidence: it was in flight, and it is larger than the broker says that it takes, or the broker
does not say why. A message is given up by evidence, too: the broker refused it alone, several times.
"""

from collections.abc import Collection, Sequence

import msgspec

from ingest.broker.amqp.reasons import Closed
from ingest.clock import Monotonic
from ingest.events.batch import Batch

STRIKES_MAX = 3
"""The broker closes on a message so often, each time alone on a connection, before it is given up."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.4, 60.0
"""After a strike the message is left alone for a while, which doubles: it may be large, and the broker ill."""
SEEN_SECONDS = 10.0
"""A relay tries a suspect again this soon after its pause. Else another worker has published it, or given it up."""
SUSPECTS_MAX = 4096
"""Remembered; the oldest is forgotten first, and is suspected again when it does it again."""
ORDINARY_BYTES = 65_536
"""A broker that takes less than this refuses ordinary events: its setting is wrong, not the message."""


class _Suspect(msgspec.Struct):
    confirmed: int
    """Other messages that the broker had confirmed when this one was suspected, or proven to be refused, last."""
    strikes: int = 0
    proofs: int = 0
    again_at: float = 0.0
    words: str = ""


class Suspects:
    """Of one publisher."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._held: dict[int, _Suspect] = {}
        self._confirmed = 0
        self._taken_max: int | None = None
        """The largest body that the broker says it takes; None if it has not said so."""
        self.said = ""
        """Why it closed a channel last, in its own words."""

    @property
    def problem(self) -> str | None:
        """What the broker says of the messages that it refuses; None while there are none."""
        recent = self._monotonic() - SEEN_SECONDS
        struck = [suspect for suspect in self._held.values() if suspect.strikes and suspect.again_at > recent]
        if not struck:
            return None
        return f"RabbitMQ refuses {len(struck)} messages, the last one with: {struck[-1].words}."

    def confirmed(self, count: int) -> None:
        """The broker took so many messages that nobody suspects."""
        self._confirmed += count

    def among(self, batch: Batch) -> Sequence[int]:
        """The positions (ascending) of what must not share a channel with others. Cheap while there is nothing such."""
        small = self._taken_max is None or batch.payload_bytes <= self._taken_max
        if small and (not self._held or self._held.keys().isdisjoint(batch.ids)):
            return ()
        return [at for at, event_id in enumerate(batch.ids) if event_id in self._held or self._is_large(batch, at)]

    def accuse(self, batch: Batch, positions: Sequence[int], closed: Closed, *, sizes_explain: bool) -> Sequence[int]:
        """Those of the positions, all in flight as the broker closed the channel, that may be why.

        With `sizes_explain` its own words about sizes are taken for the whole reason.
        """
        self.said = str(closed)
        if sizes := closed.sizes:
            self._taken_max = sizes[1]
            if sizes_explain:
                positions = [at for at in positions if self._is_large(batch, at)]
        for at in positions:
            self._held.setdefault(batch.ids[at], _Suspect(self._confirmed))
        while len(self._held) > SUSPECTS_MAX:
            del self._held[next(iter(self._held))]
        return positions

    def groups(self, batch: Batch, positions: Sequence[int]) -> list[Sequence[int]]:
        """What to try one after the other: all that is not too large at once, then each of the others.

        A message that has to wait after a strike is in none of them.
        """
        now = self._monotonic()
        due = [at for at in positions if self._again_at(batch.ids[at]) <= now]
        alone = [at for at in due if self._is_large(batch, at) or self._strikes(batch.ids[at])]
        together = [at for at in due if at not in set(alone)]
        singles = [[at] for at in sorted(alone, key=lambda at: len(batch.events[at].payload))]
        return [together, *singles] if together else [*singles]

    def strike(self, event_id: int, size: int, closed: Closed) -> None:
        """The broker closed on this message while nothing else was in flight there.

        That proves something only if others were confirmed meanwhile, or if the broker says that it is too large.
        """
        suspect = self._held.setdefault(event_id, _Suspect(self._confirmed))
        suspect.words = str(closed)
        suspect.again_at = self._monotonic() + min(PAUSE_SECONDS * 2 ** min(suspect.strikes, 16), PAUSE_SECONDS_MAX)
        suspect.strikes += 1
        told = closed.sizes
        if self._confirmed > suspect.confirmed or (told and told[0] == size > told[1] >= ORDINARY_BYTES):
            suspect.proofs += 1
            suspect.confirmed = self._confirmed

    def clear(self, batch: Batch, positions: Collection[int]) -> None:
        """The broker took these."""
        self._confirmed += len(positions)
        for at in positions:
            self._held.pop(batch.ids[at], None)
            if self._is_large(batch, at):
                self._taken_max = None  # it takes more now, also of what it refused before
                self._held.clear()

    def words(self, event_id: int) -> str | None:
        """What the broker said of it, alone; None if it has not been refused alone."""
        suspect = self._held.get(event_id)
        return suspect.words if suspect and suspect.strikes else None

    def give_up(self, event_id: int) -> str | None:
        """The reason if the message is proven never to be taken. It is forgotten then: it may be sent again later."""
        suspect = self._held.get(event_id)
        if suspect is None or suspect.proofs < STRIKES_MAX:
            return None
        del self._held[event_id]
        return f"RabbitMQ refused it {suspect.strikes} times, each time alone: {suspect.words}."

    def _is_large(self, batch: Batch, at: int) -> bool:
        return self._taken_max is not None and len(batch.events[at].payload) > self._taken_max

    def _strikes(self, event_id: int) -> int:
        suspect = self._held.get(event_id)
        return suspect.strikes if suspect else 0

    def _again_at(self, event_id: int) -> float:
        suspect = self._held.get(event_id)
        return suspect.again_at if suspect else 0.0


def halves(batch: Batch, positions: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The smaller messages and the larger ones, each in their order: size is the likeliest reason."""
    by_size = sorted(positions, key=lambda at: len(batch.events[at].payload))
    middle = len(by_size) // 2
    return sorted(by_size[:middle]), sorted(by_size[middle:])
