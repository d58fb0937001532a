"""The command `ingest check`."""

import sys
from contextlib import ExitStack

import click
import msgspec

from ingest.cli.check.events import event_of, new_run
from ingest.cli.check.load import Load, Send
from ingest.cli.check.report import lines_of, report_of
from ingest.cli.check.verdict import Budgets, judge
from ingest.cli.options import DURATION, Duration
from ingest.cli.send.service import NoAnswer, Reply, Service
from ingest.cli.shell.output import say, warn
from ingest.cli.shell.parameters import RATE_MIN, Number
from ingest.cli.shell.service_url import URL_HELP, Target, client_certificate, events_target
from ingest.errors import IngestError, SettingsError

PATH = "/api/call-events"
RATE_MAX = 2_000.0
"""Events a second that one process of Python can time."""
SECONDS_MAX = 3_600
EVENTS_MAX = 1_000_000
CONNECTIONS_MAX = 256
"""Requests in flight at a time."""
BUDGET_MS_MAX = 600_000.0
EXIT_CODES = {"met": 0, "missed": 1, "not measured": 3}
REFUSED = 2

MILLISECONDS = Number(0, BUDGET_MS_MAX)


@click.command()
@click.option("--url", help=URL_HELP)
@click.option("--token", envvar="CALL_EVENTS_TOKEN", required=True, help="Better set the variable CALL_EVENTS_TOKEN.")
@client_certificate
@click.option("--rate", type=Number(RATE_MIN, RATE_MAX), default=50.0, show_default=True, help="Events a second.")
@click.option("--duration", type=DURATION, default="10s", show_default=True, help="Time, such as 30s or 5m.")
@click.option(
    "--connections", type=click.IntRange(1, CONNECTIONS_MAX), default=32, show_default=True, help="Requests in flight."
)
@click.option("--p50", type=MILLISECONDS, metavar="MS", help="Budget: half of the events are answered in this time.")
@click.option("--p99", type=MILLISECONDS, metavar="MS", help="Budget: 99 % of the events are answered in this time.")
@click.option(
    "--errors-max", type=click.IntRange(0), default=0, show_default=True, help="Budget: events that may fail."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def check(
    url: str | None,
    token: str,
    client_cert: str | None,
    rate: float,
    duration: Duration,
    connections: int,
    p50: float | None,
    p99: float | None,
    errors_max: int,
    as_json: bool,
) -> None:
    """Send events to a deployment at a fixed rate, and judge its latency and errors.

    An event's latency counts from its scheduled time, also if it had to wait for a free connection. The events are
    real: they are stored and published, with the type `check` and call ids that begin with `check-`.

    Exit codes: 0 met, 1 missed, 2 refused before any load, 3 not measured because this host could not keep up.
    """
    count = _count(rate, duration)
    try:
        target = events_target(url, client_cert)
        _ask(target, token)
        run = new_run()
        with ExitStack() as opened:
            senders = [_sender(target, token, run, opened) for _ in range(min(connections, count))]
            measured = Load(senders, rate, count).run()
    except IngestError as exc:
        warn(f"ingest: {exc}")
        sys.exit(REFUSED)
    budgets = Budgets(p50, p99, errors_max)
    report = report_of(
        judge(measured, budgets),
        measured,
        budgets,
        url=target.url,
        run=run,
        rate=rate,
        seconds=duration.seconds,
        connections=len(senders),
    )
    for line in [msgspec.json.encode(report).decode()] if as_json else lines_of(report):
        say(line)
    sys.exit(EXIT_CODES[report.verdict])


def _count(rate: float, duration: Duration) -> int:
    count = int(rate * duration.seconds)
    if not 1 <= duration.seconds <= SECONDS_MAX or not 1 <= count <= EVENTS_MAX:
        raise click.UsageError(
            f"--rate and --duration make {count} events in {duration.seconds} s: at least one event, at most "
            f"{EVENTS_MAX} events and {SECONDS_MAX} s are possible."
        )
    return count


def _ask(target: Target, token: str) -> None:
    """Send an event without fields, which is never stored. Raises `SettingsError` if the service refuses the token."""
    service = Service(target, token)
    try:
        reply = service.post(PATH, b"{}", {"Content-Type": "application/json"})
    except NoAnswer as exc:
        raise SettingsError(f"{service.url}: {exc}. Nothing was sent.") from exc
    finally:
        service.close()
    if reply.status == 401:
        raise SettingsError(f"{service.url} refuses the token: it {reply.reason} Nothing was sent.")
    if reply.status != 422:
        raise SettingsError(f"{service.url} {reply.reason} A service of this kind answers 422 here. Nothing was sent.")


def _sender(target: Target, token: str, run: str, opened: ExitStack) -> Send:
    """Return a sender with an open connection, so that no event waits for one to be made. Raises `NoAnswer`."""
    service = Service(target, token)
    opened.callback(service.close)
    service.connect()

    def send(number: int) -> Reply:
        body, key = event_of(run, number)
        return service.post(PATH, body, {"Content-Type": "application/json", "Idempotency-Key": key})

    return send
