"""PHP's serialized values: what PHP writes is read, and everything else is refused within bounds."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.store.mysql.laravel.php import BYTES_MAX, DEPTH_MAX, VALUES_MAX, PhpError, PhpObject, unserialize


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("N;", None),
        ("b:1;", True),
        ("i:-42;", -42),
        ("d:0.5;", 0.5),
        ("d:1.0E+25;", 1e25),
        ('s:6:"zəng!";', "zəng!"),  # the length is in bytes
        ('s:7:"a";s:1:";', 'a";s:1:'),  # quotes within a text end nothing
        ('a:2:{i:0;s:1:"a";s:1:"k";N;}', {0: "a", "k": None}),
        ('E:10:"Type:Ended";', PhpObject("Type:Ended", {})),
        (
            'O:7:"App\\Job":3:{s:1:"a";i:1;s:10:"\0App\\Job\0b";i:2;s:4:"\0*\0c";i:3;}',
            PhpObject("App\\Job", {"a": 1, "b": 2, "c": 3}),
        ),
    ],
)
def test_value_of_php_is_read(text: str, value: object) -> None:
    assert unserialize(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no value"),
        ("i:1;i:2;", "something follows"),
        ("i:;", "no number"),
        ("i:1", "missing"),
        ('s:5:"abc";', "missing"),
        ("a:1:{i:0;}", "no value"),
        ("a:2:{i:0;N;i:0;N;}", "twice"),
        ("a:1:{b:1;N;}", "no key"),
        ('O:1:"A":1:{i:0;N;}', "no key"),
        ("R:1;", "no value"),
        ('C:3:"Abc":2:{aa}', "no value"),
        ("a:999999999:{", "no key"),
        ("a:1:{i:0;" * (DEPTH_MAX + 1), "nested"),
        ("a:100001:{" + "".join(f"i:{n};N;" for n in range(VALUES_MAX // 2)) + "}", "values"),
        (f's:{BYTES_MAX}:"{"a" * BYTES_MAX}";', "limit"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_anything_else_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(PhpError, match=reason):
        unserialize(text.encode())


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(PhpError, match="UTF-8"):
        unserialize(b's:1:"\xe9";')


@given(st.binary(max_size=60) | st.text('absiNdOE:;{}"0123456789\0', max_size=60).map(str.encode))
def test_no_bytes_raise_another_error(text: bytes) -> None:
    with suppress(PhpError):
        unserialize(text)


def test_values_that_php_would_write_survive() -> None:
    def written(value: object) -> str:
        if value is None:
            return "N;"
        if isinstance(value, bool):
            return f"b:{int(value)};"
        if isinstance(value, int):
            return f"i:{value};"
        if isinstance(value, str):
            return f's:{len(value.encode())}:"{value}";'
        assert isinstance(value, dict)
        return f"a:{len(value)}:{{{''.join(written(key) + written(one) for key, one in value.items())}}}"

    value = {"call_id": "ə" * 10, "nested": {0: 1, 1: {"deep": None}}, "yes": True, "": -1}

    assert unserialize(written(value).encode()) == value
