import pytest

from ingest.tokens import Tokens

OURS = Tokens(["first-token", "zweites-Tökén"])


@pytest.mark.parametrize("token", ["first-token", "zweites-Tökén"])
def test_each_token_is_accepted(token: str) -> None:
    assert OURS.accepts(token.encode())


@pytest.mark.parametrize(
    "token", [None, b"", b"first-token ", b"first-toke", b"FIRST-TOKEN", b"first-token,zweites", b"\xff\x00"]
)
def test_anything_else_is_not(token: bytes | None) -> None:
    assert not OURS.accepts(token)


@pytest.mark.parametrize("token", [None, b"", b"any"])
def test_without_tokens_nobody_is_let_in(token: bytes | None) -> None:
    assert not Tokens([]).accepts(token)


def test_no_token_is_not_the_empty_token() -> None:
    assert not Tokens([""]).accepts(None)


def test_tokens_are_not_kept_as_such() -> None:
    assert "first-token" not in repr(vars(OURS))
