import pytest

from ingest.tokens import Tokens

OURS = Tokens(["first-token", "second.token"])


@pytest.mark.parametrize("token", ["first-token", "second.token"])
def test_each_token_is_accepted(token: str) -> None:
    assert OURS.accepts(token)


@pytest.mark.parametrize(
    "token", [None, "", "first-token ", "first-toke", "FIRST-TOKEN", "first-token,second.token", "\xff\x00"]
)
def test_anything_else_is_not(token: str | None) -> None:
    assert not OURS.accepts(token)


@pytest.mark.parametrize("token", [None, "", "any"])
def test_without_tokens_nobody_is_let_in(token: str | None) -> None:
    assert not Tokens([]).accepts(token)


def test_no_token_is_not_the_empty_token() -> None:
    assert not Tokens([""]).accepts(None)


def test_tokens_are_not_kept_as_such() -> None:
    assert "first-token" not in repr(vars(OURS))
