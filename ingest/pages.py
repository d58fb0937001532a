"""The two pages, whole in themselves: no build step, no outside resource, and a policy that lets in nothing else."""

import base64
import hashlib
import re

import msgspec


class Page(msgspec.Struct, frozen=True):
    """`policy` is its Content-Security-Policy."""

    body: bytes
    policy: bytes


def _page(html: str) -> Page:
    """Of scripts and styles only those that stand in it, by their hashes; they may ask this service only."""
    policy = (
        f"default-src 'none'; script-src {_hashes('script', html)}; style-src {_hashes('style', html)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _hashes(element: str, html: str) -> str:
    contents = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Call Events Service</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
dt { font-weight: 600; } dd { margin: 0 0 .75rem; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid; border-radius: .5rem; }
</style>
<h1>Call Events Service</h1>
"""

STATUS = _page(
    _HEAD
    + """<p role="status" id="status">Looking …</p><dl id="checks"></dl>
<p><a href="/docs">API</a> · <a href="/metrics">metrics</a> · <a href="/readyz">readyz</a></p>
<script>
async function look() {
  try {
    const report = await (await fetch("/readyz", {cache: "no-store"})).json();
    document.getElementById("status").textContent = "The service is " + report.status + ".";
    const list = document.getElementById("checks");
    list.replaceChildren();
    for (const [name, state] of Object.entries(report.checks)) {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name; text.textContent = state; list.append(term, text);
    }
  } catch (error) { document.getElementById("status").textContent = "The service does not answer."; }
}
look(); setInterval(look, 2000);
</script></html>
"""
)

DOCS = _page(
    _HEAD
    + """<p>From <a href="/openapi.json">openapi.json</a>.</p><div id="calls"></div>
<h2>Event</h2><pre id="event">Loading …</pre>
<script>
(async () => {
  const api = await (await fetch("/openapi.json")).json();
  const calls = document.getElementById("calls");
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, call] of Object.entries(methods)) {
      const title = document.createElement("h2"), list = document.createElement("dl");
      title.textContent = method.toUpperCase() + " " + path;
      calls.append(title, call.summary, list);
      for (const [status, answer] of Object.entries(call.responses)) {
        const term = document.createElement("dt"), text = document.createElement("dd");
        term.textContent = status; text.textContent = answer.description; list.append(term, text);
      }
    }
  document.getElementById("event").textContent = JSON.stringify(api.components.schemas.CallEvent, null, 2);
})();
</script></html>
"""
)
