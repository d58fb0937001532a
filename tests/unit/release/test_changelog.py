"""The changelog lists releases, newest first, by the rules of Keep a Changelog and Semantic Versioning."""

import re
from datetime import date

from ingest import __version__
from tests.paths import ROOT

HEADINGS = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
RELEASE = re.compile(r"\[(\d+)\.(\d+)\.(\d+)] - (\d{4}-\d{2}-\d{2})")
NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def test_version_is_semantic() -> None:
    assert NUMBER.fullmatch(__version__)


def test_changes_come_by_release_newest_first() -> None:
    releases = [RELEASE.fullmatch(heading) for heading in HEADINGS[1:]]
    found = [(numbers(one), date.fromisoformat(one[4])) for one in releases if one]

    assert HEADINGS[0] == "[Unreleased]"
    assert len(found) == len(releases), HEADINGS
    assert found == sorted(found, reverse=True)
    assert len({number for number, _ in found}) == len(found)


def test_version_is_the_newest_release_or_a_later_one() -> None:
    own = NUMBER.fullmatch(__version__)
    newest = [NUMBER.search(heading) for heading in HEADINGS[1:2]]

    assert own
    assert [one for one in newest if one and numbers(one) > numbers(own)] == []


def numbers(found: re.Match[str]) -> tuple[int, ...]:
    return tuple(map(int, found.groups()[:3]))
