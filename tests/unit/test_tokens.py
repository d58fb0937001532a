from hashlib import sha256

import pytest

from ingest.errors import SettingsError
from ingest.tokens import Tokens, entry_of, problem_of, warning_about

FIRST, SECOND, THIRD = "first-token", "second.token", "third token"
OURS = Tokens([FIRST, entry_of(SECOND), entry_of(THIRD).upper().replace("SHA256:", "sha256:")])
PLAIN = Tokens([FIRST, SECOND])


@pytest.mark.parametrize("token", [FIRST, SECOND, THIRD])
def test_each_token_is_accepted(token: str) -> None:
    assert OURS.accepts(token)


@pytest.mark.parametrize("tokens", [OURS, PLAIN], ids=["some hashed", "all plain"])
@pytest.mark.parametrize(
    "token", [None, "", "first-token ", "first-toke", "FIRST-TOKEN", "first-token,second.token", "\xff\x00"]
)
def test_anything_else_is_not(tokens: Tokens, token: str | None) -> None:
    assert not tokens.accepts(token)


@pytest.mark.parametrize("sent", [entry_of(SECOND), sha256(SECOND.encode()).hexdigest()])
def test_what_stands_in_the_configuration_is_no_token(sent: str) -> None:
    assert not OURS.accepts(sent)


@pytest.mark.parametrize("token", [None, "", "any"])
def test_without_tokens_nobody_is_let_in(token: str | None) -> None:
    assert not Tokens([]).accepts(token)


def test_no_token_is_not_the_empty_token() -> None:
    assert not Tokens([""]).accepts(None)
    assert not Tokens(["sha256:" + sha256(b"").hexdigest()]).accepts(None)


def test_tokens_are_not_kept_as_such() -> None:
    assert FIRST not in repr(vars(OURS))


@pytest.mark.parametrize("line", ["abc", "abc\n", "  abc\r\n"])
def test_entry_is_the_sha256_of_the_lines_token(line: str) -> None:
    # FIPS 180-2, appendix B.1.
    assert entry_of(line) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("line", ["", "\n", entry_of("abc"), "Tökén", "two\twords"])
def test_entry_is_made_of_tokens_only(line: str) -> None:
    with pytest.raises(SettingsError):
        entry_of(line)


@pytest.mark.parametrize("digits", ["0" * 63, "0" * 65, "g" * 64, "0" * 32 + " " + "0" * 31])
def test_malformed_hash_is_told_without_showing_it(digits: str) -> None:
    problem = problem_of(f"sha256:{digits}")

    assert problem is not None
    assert "`ingest tokens hash`" in problem
    assert digits not in problem


def test_tokens_in_plain_text_are_counted() -> None:
    assert warning_about([entry_of(FIRST)]) is None
    assert str(warning_about([FIRST, entry_of(SECOND)])).startswith("1 of 2 tokens in INGEST_API_TOKENS are in plain")
