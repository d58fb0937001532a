"""Decides which events belong to a phone number or to a call. Pure.

Numbers are compared by their digits: `+994 50 123-45-67`, `00994501234567` and `tel:994501234567` are one number.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

LONG_DIGITS = 7
"""A number of this many digits names a line wherever it is. A shorter one may be a duration or a part of an id."""
SEPARATORS_MAX = 3
NUMBER_FIELDS = ("from_number", "to_number")
OTHER_FIELDS = ("timestamp", "event_type", "duration")
"""Known fields that are no numbers. Their digits do not count."""
NUMBERS_MAX = 100
CHARACTERS_MAX = 128

_SEPARATED = rf"[ \t\u00a0().\-/]{{0,{SEPARATORS_MAX}}}"
_SEPARATOR_BYTES = " \t\u00a0().-/".encode()
_WRITTEN = re.compile(r"\+?[\d \t\u00a0().\-/]+")
_NO_DIGITS = re.compile(r"\D")
_URI = re.compile(r"<?(?:sips?|tel):([^@;>]+)|^([^@\s]+)@", re.IGNORECASE)
_decode = msgspec.json.Decoder().decode


class Wanted(msgspec.Struct, frozen=True):
    """Phone numbers, extensions or SIP users, and ids of calls."""

    numbers: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def digits_of(text: str) -> str | None:
    """Return the digits of a phone number, without `+` or `00` before them. None if the text is no number."""
    if not _WRITTEN.fullmatch(text.strip()):
        return None
    digits = _NO_DIGITS.sub("", text)
    return digits.removeprefix("00") or digits


class Matcher:
    """`matches` takes a payload (JSON). `has_numbers` is False if the ids of calls decide alone."""

    def __init__(self, wanted: Wanted) -> None:
        found = {number: digits_of(number) for number in wanted.numbers}
        self.calls = frozenset(wanted.calls)
        self.has_numbers = bool(wanted.numbers)
        self._exact = frozenset(wanted.numbers)
        self._digits = frozenset(digits for digits in found.values() if digits)
        long = sorted(digits for digits in self._digits if len(digits) >= LONG_DIGITS)
        self._long = re.compile("|".join(map(_anywhere, long))) if long else None
        self._hints = [one.encode() for one in sorted({*self._exact, *self.calls} | self._digits)]

    def matches(self, payload: bytes, call_id: str | None = None) -> bool:
        """`call_id` is the row's column, if there is one. A payload that is no JSON matches if its text has the number.

        Most payloads are judged by one look at their text, without decoding.
        """
        if call_id in self.calls:
            return True
        if not self._may_match(payload):
            return False
        try:
            fields = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return bool(self._long and self._long.search(payload.decode(errors="replace")))
        return self._fields_match(fields) if isinstance(fields, dict) else False

    def _may_match(self, payload: bytes) -> bool:
        """False if the text surely has none of the numbers and calls. An escape may hide any character.

        Every written form of a number has its digits in a row, once separators are taken out. The look costs little.
        """
        if b"\\" in payload:
            return True
        dense = payload.translate(None, _SEPARATOR_BYTES)
        return any(hint in dense or hint in payload for hint in self._hints)

    def _fields_match(self, fields: dict[str, object]) -> bool:
        if fields.get("call_id") in self.calls:
            return True
        if any(self._is_number(fields.get(name)) for name in NUMBER_FIELDS):
            return True
        if self._long is None:
            return False
        texts = (text for name, value in fields.items() if name not in OTHER_FIELDS for text in _texts(name, value))
        return any(self._long.search(text) for text in texts)

    def _is_number(self, value: object) -> bool:
        """The whole value is the number, or the user of a SIP or tel URI."""
        if not isinstance(value, str):
            return isinstance(value, int) and str(value) in self._digits
        candidates = [value, *(user for match in _URI.finditer(value) for user in match.groups() if user)]
        return any(one in self._exact or digits_of(one) in self._digits for one in candidates)


def _anywhere(digits: str) -> str:
    """Match the digits with separators between them, and no other digit beside them."""
    return rf"(?<!\d)(?:00)?{_SEPARATED.join(digits)}(?!\d)"


def _texts(name: str, value: object) -> Iterator[str]:
    """All strings and whole numbers below a field, with the names of the fields in it."""
    yield name
    left: list[object] = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, int):
            yield str(one)
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one


def problem_of(wanted: Wanted) -> str | None:
    """Return why nothing may be erased by these values."""
    values: Sequence[str] = (*wanted.numbers, *wanted.calls)
    if not values:
        return "Give --number or --call."
    if len(values) > NUMBERS_MAX:
        return f"Give at most {NUMBERS_MAX} numbers and calls at a time."
    if any(not value.strip() for value in values):
        return "An empty number or call would match nothing that can be told apart."
    if any(len(number) > CHARACTERS_MAX for number in wanted.numbers):
        return f"A number has at most {CHARACTERS_MAX} characters."
    return None
