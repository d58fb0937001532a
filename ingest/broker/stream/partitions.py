"""Chooses an event's partition of a super stream. Pure.

The hash is that of RabbitMQ's Java client (`HashRoutingStrategy`), so that consumers in every language agree. It is
murmur3 (32 bits, this seed) of the routing key in UTF-8, unsigned, modulo the number of partitions.
"""

from collections.abc import Sequence

import mmh3

SEED = 104_729


def partition_of(call_id: str, count: int) -> int:
    """Return 0 to `count` - 1. The routing key is the call's id, so all events of a call share a partition."""
    return mmh3.hash(call_id, SEED, signed=False) % count


def partition_names(stream: str, count: int) -> Sequence[str]:
    """Return the streams' names. One is a plain stream of that name; several are partitions of a super stream."""
    return [stream] if count == 1 else [f"{stream}-{number}" for number in range(count)]
