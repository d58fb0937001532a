"""The publisher's protocol: the pipeline and the relay need nothing else of a broker."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from ingest.errors import NotConfirmed
from ingest.events.batch import Batch

Priority = Literal["live", "relay"]
"""Batches of priority `live` are written in the order of the calls. Those of priority `relay` do not delay them."""

Refused = tuple[Batch, NotConfirmed]

Held = Callable[[], str | None]
"""Return why the publisher must not publish or declare anything now, or None. See `ingest.broker.target_record`."""


def not_held() -> None:
    """Always allow publishing."""


class Publisher(Protocol):
    """Publishes whole batches. When `publish` returns, the broker has confirmed every message."""

    @property
    def ready(self) -> bool:
        """False while the broker is known to be away."""

    @property
    def problem(self) -> str | None:
        """Why `ready` is False, or which messages the broker refuses although it is True. A text for people."""

    async def blocked(self) -> bool:
        """Return True while the broker blocks all publishing because of its own alarm (memory or disk)."""

    async def start(self) -> None:
        """Start to connect, and to reconnect after every loss. Never raises if the broker is away."""

    async def close(self) -> None:
        """Close the connection; safe to call twice."""

    async def publish(self, batch: Batch, priority: Priority = "live") -> None:
        """Publish, and wait until the broker confirms every message, at most for the publisher's confirm timeout.

        Raises `BrokerUnavailable` if the outcome is unknown for all messages. Raises `NotConfirmed` with the positions
        of messages that the broker refused or has not answered for, if it confirmed all others.
        """


class OrderedPublisher(Publisher, Protocol):
    """Publishes in the order of the calls, whatever their priority, and each event of a batch with a producer once.

    The broker discards a publishing id that is lower than the newest one of its producer, as if it were a duplicate.
    So each producer's batches must be published in the order of their ids, whichever process publishes them.
    """

    async def publish_once(self, batches: Sequence[Batch]) -> Sequence[Refused]:
        """Publish batches that may be out of sequence: newer ones of their producer may be in the stream already.

        Each producer's batches must be in order, and no other process may publish between them. Return the refused
        ones. Usually this asks the broker twice for each producer. If any batch is out of sequence, the stream is
        searched once for all of them, which is slow. Raises `BrokerUnavailable`.
        """
