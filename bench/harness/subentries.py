"""Publishes batches to a stream as sub-entries: many messages under one publishing id, optionally compressed.

The benchmark shows what sub-entries would save. The service does not use them. Its publishing id of a message is the
event's id, by which RabbitMQ discards duplicates in any batch. A sub-entry has one publishing id for all its messages.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from struct import Struct
from typing import Any

import zstandard

from ingest.broker.stream.address import StreamAddress
from ingest.broker.stream.message import encode_batch
from ingest.broker.stream.node import Publication, StreamNode
from ingest.broker.stream.topology import StreamTopology
from ingest.events.batch import Batch

KEY_PUBLISH, VERSION, ENTRIES = 2, 1, 1
SUB_ENTRY = 0x80
_pack_head = Struct(">IHHBIQBHII").pack
_HEAD_BYTES = Struct(">HHBIQBHII").size
"""Bytes of the head that a frame's length includes."""
_pack_length = Struct(">I").pack
CONFIRM_SECONDS = 10.0

COMPRESSIONS: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (1, lambda data: gzip.compress(data, 1)),
    "zstd": (4, zstandard.ZstdCompressor(1).compress),
}
"""Name → the protocol's number, and the compressor at its lowest level."""


@asynccontextmanager
async def publish(url: str, stream: str, compression: str) -> AsyncIterator[Callable[[Batch], Any]]:
    """Yield a function that publishes a batch, and returns when RabbitMQ has confirmed it."""
    address = StreamAddress.parse(url)
    lost: list[str] = []
    node = await StreamNode.open(address, address.host, address.port, lost.append)
    try:
        await StreamTopology(stream).declare(node.client)
        declared = await node.declare(stream, "bench")
        number, compress = COMPRESSIONS[compression]

        async def publish(batch: Batch) -> None:
            messages = encode_batch(batch)
            plain = b"".join([part for message in messages for part in (_pack_length(len(message)), message)])
            data = compress(plain)
            kind = SUB_ENTRY | number << 4
            frame = _pack_head(
                *(_HEAD_BYTES + len(data), KEY_PUBLISH, VERSION, declared.number, ENTRIES, batch.last_id),
                *(kind, len(messages), len(plain), len(data)),
            )
            publication = Publication(1)
            declared.expect([batch.last_id], publication)
            await node.client._conn.write(frame + data)  # type: ignore[union-attr]  # no method writes this frame
            async with asyncio.timeout(CONFIRM_SECONDS):
                await publication.done

        yield publish
    finally:
        await node.end(1.0, broken=bool(lost))
