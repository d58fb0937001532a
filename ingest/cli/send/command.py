"""The command `ingest send`."""

import sys
from pathlib import Path

import click

from ingest.cli.send.follow.follower import Follower
from ingest.cli.send.follow.state_file import SUFFIX, StateFile, path_of
from ingest.cli.send.poster import Poster, SendFailed
from ingest.cli.send.records.folder import RecordFolder
from ingest.cli.send.records.sender import RecordSender
from ingest.cli.send.sending import Sending
from ingest.cli.send.service import Service
from ingest.cli.send.waiting import UntilSignal
from ingest.cli.shell.output import say, visible, warn
from ingest.cli.shell.parameters import RATE
from ingest.cli.shell.service_url import URL_HELP, client_certificate, events_target
from ingest.files.locks import FileLock, lock

LOCK_SUFFIX = f"{SUFFIX}.lock"
FOLDER_LOCK = ".ingest-send.lock"


@click.command()
@click.argument("path", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--url", help=URL_HELP)
@click.option("--token", envvar="CALL_EVENTS_TOKEN", required=True, help="Better set the variable CALL_EVENTS_TOKEN.")
@client_certificate
@click.option("--rate", type=RATE, help="Events a second; by default no limit.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Events in a request.")
@click.option("--follow", is_flag=True, help="Go on with new lines, or new records, until SIGTERM or Ctrl-C.")
@click.option("--client", metavar="NAME", help="Post the records in DIR to /in/NAME, such as freeswitch.")
@click.option("--remove", is_flag=True, help="With --client: delete posted records; by default they go to DIR/sent.")
def send(
    path: Path,
    url: str | None,
    token: str,
    client_cert: str | None,
    rate: float | None,
    batch: int,
    follow: bool,
    client: str | None,
    remove: bool,
) -> None:
    """Post the events of FILE: NDJSON, or CSV (by its name) whose first row names the fields.

    FILE.sent keeps the progress: after an interruption the same command continues there, and no event is stored twice.
    FILE.rejected lists the events that the service refuses, with line and errors; the exit code is 1 then.

    With --follow, FILE is NDJSON that grows, and that may be rotated: renamed, or copied and truncated. FILE.followed
    keeps the progress. The command waits while the service is away. An incomplete last line waits for its end.

    With --client, DIR has the records that a telephony server could not post, such as err-log-dir of FreeSWITCH. Each
    goes to the service as it is, then to DIR/sent, or to DIR/rejected with the reason in a file NAME.error.
    """
    if remove and not client:
        raise click.UsageError("--remove needs --client.")
    _check(path, is_folder=client is not None, may_be_missing=follow)
    target = events_target(url, client_cert)
    if client is not None:
        _send_records(RecordFolder(path, client, remove=remove), path, client, Service(target, token), rate, follow)
    elif follow:
        _follow(path, Service(target, token), batch, rate)
    else:
        _send_file(path, Poster(target, token), batch, rate)


def _check(path: Path, *, is_folder: bool, may_be_missing: bool) -> None:
    """Raise a usage error if the path is not what the options need."""
    if is_folder and not path.is_dir():
        raise click.BadParameter(f"{path} is no folder.", param_hint="DIR")
    if is_folder:
        return
    if may_be_missing and path.suffix.lower() == ".csv":
        raise click.BadParameter("--follow reads NDJSON only.", param_hint="FILE")
    if path.exists() and not path.is_file():
        raise click.BadParameter(f"{path} is no file. For a folder of records, add --client.", param_hint="FILE")
    if not path.exists() and not (may_be_missing and path.parent.is_dir()):
        raise click.BadParameter(f"{path} does not exist.", param_hint="FILE")


def _send_file(file: Path, poster: Poster, batch: int, rate: float | None) -> None:
    if path_of(file).exists():
        raise SendFailed(
            f"{file.name} is sent with --follow. To send all of it again, delete {path_of(file).name} first."
        )
    sending = Sending(file, poster, batch, rate)
    for note in sending.notes:
        warn(note)
    with click.progressbar(length=file.stat().st_size, label=visible(file.name), file=sys.stderr) as bar:
        progress = sending.run(lambda read: bar.update(read - bar.pos))
    say(
        f"{progress.accepted} accepted, {progress.rejected} rejected; {sending.sent} of them now, "
        f"{sending.sent / max(sending.seconds, 1e-3):.0f} a second"
    )
    sys.exit(1 if progress.rejected else 0)


def _follow(file: Path, service: Service, batch: int, rate: float | None) -> None:
    held = _alone(file.with_name(file.name + LOCK_SUFFIX), f"Another `ingest send --follow` sends {file.name}.")
    try:
        follower = Follower(StateFile(file), service, batch, rate, _until_signal(), warn)
        follower.run()
    finally:
        held.release()
    state = follower.state
    say(f"{state.accepted} accepted, {state.rejected} rejected; {follower.sent} of them now")


def _send_records(
    folder: RecordFolder, path: Path, client: str, service: Service, rate: float | None, follow: bool
) -> None:
    held = _alone(path / FOLDER_LOCK, f"Another `ingest send` posts the records in {path}.")
    sender = RecordSender(folder, client, service, rate, _until_signal(), warn)
    try:
        (sender.follow if follow else sender.run)()
    finally:
        held.release()
        say(f"{sender.accepted} accepted, {sender.rejected} rejected, {sender.unfinished} perhaps not finished")
    sys.exit(1 if sender.rejected and not follow else 0)


def _alone(path: Path, message: str) -> FileLock:
    held = lock(path)
    if held is None:
        raise SendFailed(message)
    return held


def _until_signal() -> UntilSignal:
    waiting = UntilSignal()
    waiting.listen()
    return waiting
