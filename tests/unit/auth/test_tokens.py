from hashlib import sha256

import pytest

from ingest.auth.tokens import Token, digests_of, entry_of, new_secret, problem_of, warning_about
from ingest.errors import SettingsError

FIRST, SECOND = "first-token", "second.token"


@pytest.mark.parametrize("line", ["abc", "abc\n", "  abc\r\n"])
def test_entry_is_the_sha256_of_the_lines_token(line: str) -> None:
    # The hash is an example of FIPS 180-2, appendix B.1.
    assert entry_of(line) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("line", ["", "\n", entry_of("abc"), "Tökén", "two\twords"])
def test_entry_is_made_of_tokens_only(line: str) -> None:
    with pytest.raises(SettingsError):
        entry_of(line)


@pytest.mark.parametrize("digits", ["0" * 63, "0" * 65, "g" * 64, "0" * 32 + " " + "0" * 31])
def test_problem_of_a_malformed_hash_does_not_show_it(digits: str) -> None:
    problem = problem_of(f"sha256:{digits}")

    assert problem is not None
    assert "`ingest tokens hash`" in problem
    assert digits not in problem


def test_tokens_in_plain_text_are_counted() -> None:
    assert warning_about([entry_of(FIRST)]) is None
    assert str(warning_about([FIRST, entry_of(SECOND)])).startswith("1 of 2 tokens in INGEST_API_TOKENS are in plain")


def test_plain_and_hashed_entries_have_the_same_digest() -> None:
    assert digests_of([FIRST, entry_of(SECOND)]) == [sha256(FIRST.encode()).digest(), sha256(SECOND.encode()).digest()]


def test_new_tokens_are_unique_and_fit_a_header_or_a_path() -> None:
    made = {new_secret() for _ in range(100)}

    assert len(made) == 100
    assert all(len(token) == 43 and token.replace("-", "").replace("_", "").isalnum() for token in made)


def test_token_is_valid_until_it_expires() -> None:
    token = Token(b"d" * 32, "pbx", created_us=1, expires_us=5)

    assert (token.is_valid(4), token.is_valid(5)) == (True, False)
    assert Token(b"d" * 32, "pbx", created_us=1).is_valid(10**18)
