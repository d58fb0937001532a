"""Reads the values of PHP's `serialize()`, in which Laravel keeps its jobs.

The parser is strict and bounded, and evaluates nothing: an object becomes its class name and its properties. It refuses
references, objects with a format of their own, and all that PHP does not write. `phpserialize` on PyPI is of 2012, its
successors are of this year and have no bounds. The format is that of PHP's manual (`serialize`) and php_var_serialize.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

DEPTH_MAX = 32
VALUES_MAX = 100_000
BYTES_MAX = 4 << 20
INTEGER = re.compile(rb"-?\d{1,19}")
FLOAT = re.compile(rb"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NAN|-?INF")
LENGTH = re.compile(rb"\d{1,9}")

PhpValue: TypeAlias = "str | int | float | bool | dict[int | str, PhpValue] | PhpObject | None"


class PhpError(ValueError):
    """The text is not what PHP serializes, or beyond the bounds of this parser."""


class PhpObject(msgspec.Struct, frozen=True):
    """`fields` are the properties by their plain names, whatever their visibility."""

    name: str
    fields: Mapping[str, PhpValue]


def unserialize(text: bytes) -> PhpValue:
    """Return the one value in the text. Raises `PhpError`."""
    if len(text) > BYTES_MAX:
        raise PhpError(f"it has {len(text)} bytes, and the limit is {BYTES_MAX}")
    reader = _Reader(text)
    value = reader.value(0)
    if reader.at != len(text):
        raise PhpError(f"something follows the value at byte {reader.at}")
    return value


class _Reader:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._values = 0
        self.at = 0
        self._kinds: Mapping[bytes, Callable[[int], PhpValue]] = {
            b"b:": self._boolean,
            b"i:": self._integer,
            b"d:": self._float,
            b"s:": self._string,
            b"a:": self._array,
            b"O:": self._object,
            b"E:": self._enum,
        }

    def value(self, depth: int) -> PhpValue:
        self._values += 1
        if depth > DEPTH_MAX or self._values > VALUES_MAX:
            raise PhpError(f"it is nested more than {DEPTH_MAX} levels deep, or has more than {VALUES_MAX} values")
        if self._text.startswith(b"N;", self.at):
            self.at += 2
            return None
        kind = self._text[self.at : self.at + 2]
        read = self._kinds.get(kind)
        if read is None:
            raise PhpError(f"there is no value that can be read at byte {self.at}")
        self.at += 2
        return read(depth)

    def _boolean(self, _: int) -> bool:
        return self._matched(re.compile(rb"[01]"), b";") == b"1"

    def _integer(self, _: int) -> int:
        return int(self._matched(INTEGER, b";"))

    def _float(self, _: int) -> float:
        return float(self._matched(FLOAT, b";"))

    def _string(self, _: int) -> str:
        text = self._quoted()
        self._skip(b";")
        return text

    def _array(self, depth: int) -> dict[int | str, PhpValue]:
        return self._entries(depth, (b"i:", b"s:"))

    def _object(self, depth: int) -> PhpObject:
        name = self._quoted()
        self._skip(b":")
        fields = self._entries(depth, (b"s:",))
        # PHP writes "\0Class\0name" for a private property, and "\0*\0name" for a protected one.
        return PhpObject(name, {str(key).rpartition("\0")[2]: value for key, value in fields.items()})

    def _enum(self, _: int) -> PhpObject:
        """PHP keeps a case of an enumeration by its name, `Class:Case`, without its value."""
        return PhpObject(self._string(0), {})

    def _entries(self, depth: int, key_kinds: tuple[bytes, ...]) -> dict[int | str, PhpValue]:
        count = int(self._matched(LENGTH, b":"))
        self._skip(b"{")
        entries: dict[int | str, PhpValue] = {}
        for _ in range(count):
            if not self._text.startswith(key_kinds, self.at):
                raise PhpError(f"there is no key at byte {self.at}")
            key = self.value(depth + 1)
            assert isinstance(key, int | str)  # noqa: S101 - of these kinds
            if key in entries:
                raise PhpError(f"the key before byte {self.at} is there twice")
            entries[key] = self.value(depth + 1)
        self._skip(b"}")
        return entries

    def _quoted(self) -> str:
        """A text in quotes, after its length in bytes."""
        length = int(self._matched(LENGTH, b":"))
        self._skip(b'"')
        found = self._text[self.at : self.at + length]
        self.at += length
        self._skip(b'"')
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise PhpError(f"the text before byte {self.at} is not UTF-8") from None

    def _matched(self, pattern: "re.Pattern[bytes]", end: bytes) -> bytes:
        match = pattern.match(self._text, self.at)
        if match is None:
            raise PhpError(f"there is no number at byte {self.at}")
        self.at = match.end()
        self._skip(end)
        return match[0]

    def _skip(self, expected: bytes) -> None:
        if not self._text.startswith(expected, self.at):
            raise PhpError(f"{expected.decode()} is missing at byte {self.at}")
        self.at += len(expected)
