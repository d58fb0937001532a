"""Decoding of compressed bodies, and its limits."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import BodyTooLarge, Malformed, UnsupportedEncoding
from ingest.http.content_encoding import GZIP_MEMBERS_MAX, RATIO_MAX, Decoder, decoder_for, gunzip, unzstd
from tests.unit.fakes import FakeHeaders

BYTES_MAX = 1_000_000
Encode = Callable[[bytes], bytes]


def zstd_without_size(content: bytes) -> bytes:
    """Compress like a client that streams."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content) + compressor.flush()


ENCODINGS = [
    pytest.param(gzip.compress, gunzip, id="gzip"),
    pytest.param(zstandard.ZstdCompressor().compress, unzstd, id="zstd"),
    pytest.param(zstd_without_size, unzstd, id="zstd, streamed"),
]


@pytest.mark.parametrize(("encode", "decode"), ENCODINGS)
@given(content=st.binary(max_size=2000))
def test_content_is_restored(encode: Encode, decode: Decoder, content: bytes) -> None:
    assert decode(encode(content), BYTES_MAX) == content


@pytest.mark.parametrize(("encode", "decode"), ENCODINGS)
def test_content_is_limited_to_the_byte(encode: Encode, decode: Decoder) -> None:
    content = bytes(range(256)) * 4

    assert decode(encode(content), len(content)) == content
    with pytest.raises(BodyTooLarge, match="more than 1023 bytes"):
        decode(encode(content), len(content) - 1)


@pytest.mark.parametrize(("encode", "decode"), ENCODINGS)
@given(data=st.data())
def test_truncated_body_is_malformed(encode: Encode, decode: Decoder, data: st.DataObject) -> None:
    body = encode(b'{"call_id":"a"}')
    length = data.draw(st.integers(0, len(body) - 1))

    with pytest.raises(Malformed):
        decode(body[:length], BYTES_MAX)


@pytest.mark.parametrize("decode", [gunzip, unzstd])
@given(body=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(decode: Decoder, body: bytes) -> None:
    with suppress(Malformed, BodyTooLarge):
        decode(body, BYTES_MAX)


@pytest.mark.parametrize(("encode", "decode"), ENCODINGS)
def test_memory_for_a_bomb_is_bounded(encode: Encode, decode: Decoder) -> None:
    bomb = encode(bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match=f"{RATIO_MAX} times"):
            decode(bomb, 64_000_000)
        assert tracemalloc.get_traced_memory()[1] < 3 * RATIO_MAX * len(bomb)
    finally:
        tracemalloc.stop()


def test_gzip_of_several_members_is_one_body() -> None:
    assert gunzip(gzip.compress(b"a") * GZIP_MEMBERS_MAX, BYTES_MAX) == b"a" * GZIP_MEMBERS_MAX
    with pytest.raises(Malformed, match="more than 64 gzip members"):
        gunzip(gzip.compress(b"a") * (GZIP_MEMBERS_MAX + 1), BYTES_MAX)


def test_members_share_one_bound() -> None:
    with pytest.raises(BodyTooLarge):
        gunzip(gzip.compress(b"abcd") * 3, 11)


@pytest.mark.parametrize(
    "body", [zlib.compress(b"a"), gzip.compress(b"a")[:-1] + b"x", b""], ids=["zlib", "sum", "none"]
)
def test_invalid_gzip_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="not valid gzip"):
        gunzip(body, BYTES_MAX)


def test_zstd_of_two_frames_is_malformed() -> None:
    frame = zstandard.ZstdCompressor().compress(b"a")
    with pytest.raises(Malformed, match="not one whole Zstandard frame"):
        unzstd(frame * 2, BYTES_MAX)


@pytest.mark.parametrize(
    ("name", "decode"), [("", None), (" Identity", None), ("GZIP", gunzip), ("x-gzip", gunzip), ("zstd", unzstd)]
)
def test_names(name: str, decode: Decoder | None) -> None:
    assert decoder_for(FakeHeaders({"content-encoding": name})) is decode


@pytest.mark.parametrize("name", ["br", "deflate", "gzip, zstd", None])
def test_unsupported_names(name: str | None) -> None:
    with pytest.raises(UnsupportedEncoding):
        decoder_for(FakeHeaders({"content-encoding": name}))
