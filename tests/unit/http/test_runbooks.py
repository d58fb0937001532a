"""The page of runbooks has all of docs/runbooks.md, and the status page links to existing sections."""

import re

from ingest.http.pages import RUNBOOKS, STATUS
from ingest.http.pages.runbooks import as_html, runbooks

SECTIONS = re.findall(r"^## (\w+)$", runbooks(), re.MULTILINE)


def test_every_section_has_its_place() -> None:
    assert SECTIONS
    assert re.findall(r'<h2 id="(\w+)">', RUNBOOKS.body.decode()) == SECTIONS


def test_no_markdown_is_left() -> None:
    text = re.sub(r"<code>.*?</code>", "", as_html(runbooks()), flags=re.DOTALL)

    assert not re.search(r"\*|`|\]\(|^[-|#] |^\d+\. ", text, re.MULTILINE)


def test_status_page_leads_to_existing_sections() -> None:
    table = re.search(r"const RUNBOOKS = \{(.*?)\};\nconst OTHER_RUNBOOK = (.*?);", STATUS.body.decode(), re.DOTALL)
    assert table
    named = re.findall(r'"(\w+)"', table[1] + table[2])

    assert len(named) == 7
    assert set(named) <= set(SECTIONS)


def test_blocks_become_elements() -> None:
    text = "## One\n\n**Bold**, *soft* and `<code>`, see [there](a.md) and One.\n\n"
    text += "1. First\n   line\n   - inner\n2. Second"

    assert as_html(text).splitlines() == [
        '<h2 id="One">One</h2>',
        "<p><strong>Bold</strong>, <em>soft</em> and <code>&lt;code&gt;</code>, see there and "
        '<a href="#One">One</a>.</p>',
        "<ol><li>First",
        "line<ul><li>inner</li></ul></li><li>Second</li></ol>",
    ]
    assert as_html("| a | b |\n|---|---|\n| 1 | 2 |") == (
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    )
