"""The publisher's protocol: what the pipeline and the relay need of a broker."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from ingest.errors import NotConfirmed
from ingest.events.batch import Batch

Priority = Literal["live", "relay"]
"""`live` batches are written in the order of the calls; `relay` ones do not hold them up."""


Refused = tuple[Batch, NotConfirmed]

Held = Callable[[], str | None]
"""Why nothing may be published or declared now, whatever the broker says; None if it may. See
`ingest.broker.target_record`."""


def not_held() -> None:
    """It may always be."""


class Publisher(Protocol):
    """Publishes whole batches; a returned `publish` means that every message is confirmed."""

    @property
    def ready(self) -> bool:
        """Whether a batch published now has a chance; False while the broker is known to be away."""

    @property
    def problem(self) -> str | None:
        """What is wrong, for people: why `ready` is False, or what is not taken although it is True."""

    async def blocked(self) -> bool:
        """Whether the broker lets nothing be published now, for an alarm of its own."""

    async def start(self) -> None:
        """Begin to connect, and to connect again after every loss. Never raises for an absent broker."""

    async def close(self) -> None:
        """Close the connection; safe to call twice."""

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        """Publish and wait until all is confirmed, at most the publisher's confirm deadline.

        Raises `BrokerUnavailable` if nothing is known of the messages, `NotConfirmed` with the
        positions of those that the broker refused while it took the others, or has not decided about.
        """


class OrderedPublisher(Publisher, Protocol):
    """Keeps the order of the calls, of both lanes, and each event of a batch that names its writer once.

    Batches of one writer must be published in the order of their ids, by whomever: what is lower than what the broker
    has of a writer is discarded, as if it were a repeat.
    """

    async def republish_missing(self, batches: Sequence[Batch], priority: Priority = "live") -> Sequence[Refused]:
        """Publish batches, each writer's in their order, that newer ones of it may have overtaken; what was refused.

        Slow if they were: what is there already is looked for, for all of them at once. Raises `BrokerUnavailable`.
        """

    async def newest_of(self, batches: Sequence[Batch]) -> Mapping[int, int]:
        """Of each writer that the batches name, the newest event that the broker has; 0 if it has none.

        Raises `BrokerUnavailable`.
        """

    async def publish_overtaken(self, batches: Sequence[Batch], newest: Mapping[int, int]) -> Sequence[Refused]:
        """Of batches that `publish` has returned for, publish what newer events had overtaken; what was refused of it.

        It was discarded then, against the rule above. `newest` is what `newest_of` said before they were published: the
        newest there is afterwards may be one of these, and something between them have been there before. Costs a
        question a writer as a rule. Raises `BrokerUnavailable`.
        """
