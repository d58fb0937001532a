"""Which partition of a super stream an event belongs to. Pure.

As RabbitMQ's Java client has it (`HashRoutingStrategy`), so that super-stream consumers of every language agree:
murmur3 (32 bits, this seed) of the routing key's UTF-8, unsigned, modulo the number of partitions.
"""

from collections.abc import Sequence

import mmh3

SEED = 104_729


def partition_of(call_id: str, count: int) -> int:
    """From 0 to `count` - 1; the routing key is the call's id, so all events of a call share a partition."""
    return mmh3.hash(call_id, SEED, signed=False) % count


def partition_names(stream: str, count: int) -> Sequence[str]:
    """The streams: one is a plain stream of that name, more are the partitions of a super stream."""
    return [stream] if count == 1 else [f"{stream}-{number}" for number in range(count)]
