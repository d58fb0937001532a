"""Remembers suspects: messages that may be why the broker closed a channel. Pure.

A message becomes a suspect if it was in flight, and if it is larger than the limit that the broker names. If the broker
names no limit, all messages in flight become suspects. A suspect is given up, and so becomes a dead letter, after the
broker has refused it alone several times.
"""

from collections.abc import Collection, Sequence

import msgspec

from ingest.broker.amqp.reasons import Closed
from ingest.clock import Monotonic
from ingest.events.batch import Batch

STRIKES_MAX = 3
"""The broker must close the connection this often on a message alone before the message is given up."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.4, 60.0
"""Pause of a message after a strike. It doubles, because the message may be large and the broker overloaded."""
SEEN_SECONDS = 10.0
"""A relay tries a suspect again within this time after its pause, unless another worker has dealt with it."""
SUSPECTS_MAX = 4096
"""The oldest suspect is forgotten first. It becomes one again if the broker closes a channel on it again."""
ORDINARY_BYTES = 65_536
"""A lower limit than this refuses ordinary events: then the broker's setting is wrong, not the message."""


class _Suspect(msgspec.Struct):
    confirmed: int
    """The publisher's count of other confirmed messages when this one became a suspect, or at its last proof."""
    strikes: int = 0
    proofs: int = 0
    again_at: float = 0.0
    words: str = ""


class Suspects:
    """The suspects of one publisher.

    A strike is a refusal of a message alone. It is a proof if the broker confirmed other messages meanwhile.
    """

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._held: dict[int, _Suspect] = {}
        self._confirmed = 0
        self._taken_max: int | None = None
        """The broker's size limit in bytes; None if the broker has not named it."""
        self.said = ""
        """The broker's last reason for closing a channel, in its own words."""

    @property
    def problem(self) -> str | None:
        """The broker's reason for the messages that it refuses; None while there are none."""
        recent = self._monotonic() - SEEN_SECONDS
        struck = [suspect for suspect in self._held.values() if suspect.strikes and suspect.again_at > recent]
        if not struck:
            return None
        return f"RabbitMQ refuses {len(struck)} messages, the last one with: {struck[-1].words}."

    def confirmed(self, count: int) -> None:
        """Count messages that the broker confirmed and that were no suspects."""
        self._confirmed += count

    def among(self, batch: Batch) -> Sequence[int]:
        """Return the positions (ascending) of suspects, which must not share a channel. Cheap if there are none."""
        small = self._taken_max is None or batch.payload_bytes <= self._taken_max
        if small and (not self._held or self._held.keys().isdisjoint(batch.ids)):
            return ()
        return [at for at, event_id in enumerate(batch.ids) if event_id in self._held or self._is_large(batch, at)]

    def accuse(self, batch: Batch, positions: Sequence[int], closed: Closed, *, sizes_explain: bool) -> Sequence[int]:
        """Make suspects of messages that were in flight when the broker closed the channel. Return their positions.

        With `sizes_explain`, only messages above the size that the broker names become suspects.
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
        """Return groups to try in turn: first all messages that are not too large, then each other message alone.

        A message that must pause after a strike is in no group.
        """
        now = self._monotonic()
        due = [at for at in positions if self._again_at(batch.ids[at]) <= now]
        alone = [at for at in due if self._is_large(batch, at) or self._strikes(batch.ids[at])]
        together = [at for at in due if at not in set(alone)]
        singles = [[at] for at in sorted(alone, key=lambda at: len(batch.events[at].payload))]
        return [together, *singles] if together else [*singles]

    def strike(self, event_id: int, size: int, closed: Closed) -> None:
        """Record that the broker closed the connection while only this message was in flight.

        That is a proof only if other messages were confirmed meanwhile, or if the broker says that it is too large.
        """
        suspect = self._held.setdefault(event_id, _Suspect(self._confirmed))
        suspect.words = str(closed)
        suspect.again_at = self._monotonic() + min(PAUSE_SECONDS * 2 ** min(suspect.strikes, 16), PAUSE_SECONDS_MAX)
        suspect.strikes += 1
        sizes = closed.sizes
        if self._confirmed > suspect.confirmed or (sizes and sizes[0] == size > sizes[1] >= ORDINARY_BYTES):
            suspect.proofs += 1
            suspect.confirmed = self._confirmed

    def clear(self, batch: Batch, positions: Collection[int]) -> None:
        """Forget messages that the broker has confirmed."""
        self._confirmed += len(positions)
        for at in positions:
            self._held.pop(batch.ids[at], None)
            if self._is_large(batch, at):
                self._taken_max = None  # the limit is higher now, also for messages refused before
                self._held.clear()

    def words(self, event_id: int) -> str | None:
        """Return the broker's words about the message; None if it was not refused alone."""
        suspect = self._held.get(event_id)
        return suspect.words if suspect and suspect.strikes else None

    def give_up(self, event_id: int) -> str | None:
        """Return the reason and forget the message if the proofs suffice, else None. It may be sent again later."""
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
    """Divide into the smaller and the larger messages, each in their order: size is the likeliest cause."""
    by_size = sorted(positions, key=lambda at: len(batch.events[at].payload))
    middle = len(by_size) // 2
    return sorted(by_size[:middle]), sorted(by_size[middle:])
