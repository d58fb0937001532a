"""The command `ingest`. Each subcommand is a module, which is imported when the subcommand is used.

Other imports also wait until a subcommand runs, so that help and version stay quick.
"""

import os
import sys
from importlib import import_module
from typing import NamedTuple

import click

from ingest.cli.shell.ctrl_c import INTERRUPTED, STOPPED, is_interrupt
from ingest.cli.shell.output import say, warn, write_all_characters

HELP = """Call events from telephony servers: durable in MySQL, published to RabbitMQ.

Settings are environment variables, or lines of a file (--env-file); `ingest config` prints them all. By default the
service runs embedded: with SQLite and its own queue in ./var.

\b
First steps:
  ingest serve              take events on http://localhost:8000/api/call-events
  ingest demo               play the calls of a small PBX
  ingest tail --limit 1     consume one message and print it
  ingest doctor             check everything and say how to repair it
  ingest migrate            create or update the tables, except in embedded mode
  ingest top                watch a running service
"""


UMASK = 0o077
"""New files are 0600, and new folders 0700, because they hold events. The service's workers inherit it."""


class Subcommand(NamedTuple):
    function: str
    """Module in `ingest.cli` and name of the function."""
    summary: str


COMMANDS = {
    "adopt": Subcommand("adopt:adopt", "Move over from the Laravel original, or back."),
    "audit": Subcommand("audit:audit", "List who resent, retried, dropped or changed something."),
    "check": Subcommand("check.command:check", "Send events at a fixed rate, and judge latency and errors."),
    "clients": Subcommand("clients:clients", "Show the forms of telephony servers, or try one."),
    "cluster": Subcommand("cluster:cluster", "Show or switch the broker that all nodes publish to."),
    "config": Subcommand("config:config", "Print the effective settings, with secrets masked."),
    "dead": Subcommand("dead_letters:dead", "List, retry or drop dead letters."),
    "demo": Subcommand("demo.command:demo", "Play the calls of a small PBX."),
    "doctor": Subcommand("doctor.command:doctor", "Check everything and say how to repair it."),
    "erase": Subcommand("erase.command:erase", "Erase the events of a phone number or a call."),
    "events": Subcommand("events.command:events", "List, show or resend stored events: did call X arrive?"),
    "healthcheck": Subcommand("healthcheck:healthcheck", "Ask the service on this host whether it is alive."),
    "log-level": Subcommand("log_level:log_level", "Change the log level of the running service."),
    "migrate": Subcommand("migrate:migrate", "Create or update the tables."),
    "replay": Subcommand("replay.command:replay", "Publish stored events once more."),
    "retention": Subcommand("retention:retention", "Keep the last days of call_event_logs and drop older ones."),
    "send": Subcommand("send.command:send", "Post the events of a file, or the records in a folder."),
    "serve": Subcommand("serve:serve", "Take events until SIGTERM or Ctrl-C."),
    "spool": Subcommand("spool.command:spool", "Inspect the spool, which holds events while MySQL is down."),
    "tail": Subcommand("tail.command:tail", "Consume the queue and print its messages."),
    "tokens": Subcommand("tokens:tokens", "Create, list, rotate or revoke the tokens of clients."),
    "top": Subcommand("top.command:top", "Watch a running service."),
}


class LazyGroup(click.Group):
    """Imports a subcommand's module at its first use, so that `ingest --help` stays quick.

    An expected error ends a command with one line and exit code 1, and Ctrl-C with exit code 130.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].function.partition(":")
        command: click.Command = getattr(import_module(f"ingest.cli.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # `ingest tail | head`: click ends it quietly
        except (Exception, KeyboardInterrupt) as exc:
            if is_interrupt(exc):
                warn(STOPPED)
                sys.exit(INTERRUPTED)
            from ingest.cli.shell.failures import FAILED, reason_of

            reason = reason_of(exc)
            if reason is None:
                raise
            warn(f"ingest: {reason}")
            sys.exit(FAILED)


def show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from ingest.version import version_line

        say(version_line())
        ctx.exit()


@click.group(cls=LazyGroup, help=HELP, context_settings={"max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and the commit, and exit.",
)
@click.option(
    "--env-file",
    type=click.Path(),
    metavar="FILE",
    help="Read settings from FILE, with lines NAME=value as for systemd or docker. The environment wins over the file.",
)
def main(env_file: str | None) -> None:
    import logging.config
    from pathlib import Path

    from ingest.cli.shell.env_file import apply_env_file
    from ingest.telemetry.logs import log_config

    os.umask(UMASK)
    write_all_characters()
    if env_file is not None:
        for name in apply_env_file(Path(env_file), os.environ):
            warn(f"{name}: the environment has another value than {env_file}, and wins.")
    logging.config.dictConfig(log_config("warning"))  # libraries are quiet; `serve` has its own
