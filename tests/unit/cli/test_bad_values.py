"""Every command with bad values: one line that names the value, never a traceback."""

from pathlib import Path

import pytest

from ingest.cli.main import COMMANDS
from tests.commands import PASSWORD, TOKENS, nowhere
from tests.many_commands import Done, Run, run_commands

HUGE = str(2**63)
MYSQL = {"API_TOKENS": TOKENS, "DATABASE_URL": nowhere("mysql", "calls")}
RABBITMQ = {"API_TOKENS": TOKENS, "BROKER_URL": nowhere("amqp", "")}
STREAM = {
    "API_TOKENS": TOKENS,
    "PUBLISH_TO": "stream",
    "STREAM_URL": nowhere("rabbitmq-stream", ""),
    "CONNECT_TIMEOUT_SECONDS": "0.5",
}
NO_URL = "is not of the form http://host:port"
SEND = ["send", "events.ndjson", "--token", "t", "--url", "http://127.0.0.1:1"]
REPLAY = ["replay", "--dry-run"]

CHECK = ["check", "--token", "t", "--url", "http://127.0.0.1:1"]

USAGE: list[tuple[list[str], str]] = [
    *((["adopt", option, value], option) for option in ("--from", "--job") for value in ("", "a b", "`a`")),
    *((["adopt", "--reserved-seconds", value], "--reserved-seconds") for value in ("-1", "x", HUGE)),
    (["adopt", "--zone", "Baku"], "there is no time zone 'Baku'"),
    *(([*CHECK, "--rate", value], "--rate") for value in ("nan", "inf", "-1", "0", "2001")),
    *(([*CHECK, option, value], option) for option in ("--p50", "--p99") for value in ("nan", "inf", "-1", "x")),
    *(([*CHECK, "--connections", value], "--connections") for value in ("0", "257")),
    *(([*CHECK, "--duration", value], "--duration") for value in ("0s", "61m", "999999d")),
    (["check", "--token", "t", "--url", "a"], NO_URL),
    (CHECK, "refused"),
    *(([*SEND, "--rate", value], "--rate") for value in ("nan", "inf", "-1", "0", "1e-300", "1e300", "many")),
    *(([*SEND, "--batch", value], "--batch") for value in ("0", "-1", HUGE, "1.5")),
    *((["top", "--interval", value], "--interval") for value in ("nan", "inf", "-1", "1e300")),
    *((["tail", "--timeout", value], "--timeout") for value in ("nan", "inf", "-1", "1e300")),
    *((["tail", "--limit", value], "--limit") for value in ("0", "-1", "x")),
    *(([*REPLAY, "--rate", value], "--rate") for value in ("nan", "inf", "-1", "0")),
    *(([*REPLAY, "--id", value], "--id") for value in (HUGE, "0", "-1", "x")),
    *((["audit", "--limit", value], "--limit") for value in ("0", HUGE)),
    *((["dead", "ls", "--limit", value], "--limit") for value in ("0", HUGE)),
    *((["events", name, HUGE], "EVENT_ID") for name in ("show", "resend")),
    *((["events", "ls", option, HUGE], option) for option in ("--id", "--limit")),
    (["events", "resend"], "EVENT_IDS"),
    *((["dead", name, HUGE], "EVENT_IDS") for name in ("retry", "drop")),
    (["spool", "retry", HUGE], "ID"),
    *((["erase", "--number", "1", option, value], option) for option in ("--pause", "--wait") for value in ("-1", "x")),
    *((["retention", option, value], option) for option in ("--days", "--bytes-max") for value in ("0", "-1", "x")),
    (["retention", "--days", HUGE], "--days"),
    (["tokens", "create", "a", "--scope", "admin"], "--scope"),
    *((["tokens", "create", "a", option, "0"], option) for option in ("--events-per-second", "--burst")),
    *((["tokens", "create", "a", option, HUGE], option) for option in ("--events-per-second", "--burst")),
    (["send", "none.ndjson", "--token", "t"], "none.ndjson does not exist"),
    (["send", ".", "--token", "t"], "is no file"),
    (["send", "events.ndjson"], "--token"),
    (["clients", "try", "plain", "none.json"], "none.json"),
    (["clients", "try", "plain", "."], "Is a directory"),
    ([*REPLAY, "--resume", "."], "--resume"),
    *(([*REPLAY, "--from", value], "--from") for value in (".", "none.ndjson.zst")),
    *((["demo", "--rate", value], "--rate") for value in ("nan", "0", "201")),
    (["healthcheck", "--none"], "--none"),
    (["none"], "none"),
]
"""Words and a part of the reason. The exit code is 2."""

FAILED: list[tuple[list[str], dict[str, str], str]] = [
    *((["top", "--url", url], {}, NO_URL) for url in ("", "a", "http://a:no", "http://[::1", "http://a:99999")),
    *(([*SEND[:-1], url], {}, NO_URL) for url in ("", "a", "http://a:no", "http://[::1", "http://a:99999")),
    ([*SEND[:-1], "http://a/api/call-events"], {}, "has a path"),
    (["send", "events.ndjson", "--token", "t\nt"], {}, "no HTTP header can have"),
    (["top", "--url", "http://127.0.0.1:1"], {}, "refused"),
    (["demo", "--url", "http://a:no"], {}, NO_URL),
    (["demo", "--duration", "1s"], {"PORT": "1"}, "http://127.0.0.1:1: "),
    (["healthcheck"], {"PORT": "1"}, "127.0.0.1:1/healthz: "),
    (["healthcheck", "--ready"], {"ADMIN_PORT": "1"}, "127.0.0.1:1/readyz: "),
    (["top"], {"PORT": "1"}, "http://127.0.0.1:1/status.json"),
    (["top"], {"ADMIN_PORT": "1"}, "http://127.0.0.1:1/status.json"),
    (["top"], {"PORT": "x"}, "INGEST_PORT"),
    (["top"], {"TLS_CERT": "none.pem", "TLS_KEY": "none.pem"}, "INGEST_TLS_CERT=none.pem cannot be read"),
    (["top"], {"TLS_CERT": "events.ndjson", "TLS_KEY": "events.ndjson"}, "INGEST_TLS_CERT=events.ndjson cannot be"),
    (["top", "--url", "http://127.0.0.1:1", "--client-cert", "none.pem"], {}, "--client-cert needs a URL with https"),
    *(
        (["top", "--url", "https://127.0.0.1:1", "--client-cert", name], {}, f"--client-cert {name} {said}")
        for name, said in (
            ("none.pem", "cannot be read"),
            (".", "cannot be"),
            ("events.ndjson", "holds no certificate"),
        )
    ),
    (["send", "latin1.ndjson", "--token", "t"], {}, "is not UTF-8"),
    (["clients", "try", "latin1.ndjson", "events.ndjson"], {}, "There is no form"),
    (["clients", "try", "none.toml", "events.ndjson"], {}, "none.toml"),
    (["clients", "try", "latin1.toml", "events.ndjson"], {}, "latin1.toml"),
    (["clients", "list"], {"CLIENT_FORMS": "none"}, "INGEST_CLIENT_FORMS"),
    *(([*REPLAY, "--since", value], {}, "is no time") for value in ("x", "0001-13-01", "2026-11-25T25:00")),
    ([*REPLAY, "--resume", "latin1.ndjson"], {}, "latin1.ndjson"),
    ([*REPLAY, "--from", "events.ndjson"], {}, "events.ndjson.json is missing, the manifest"),
    (["log-level", "debug", "--for", "1y"], {}, "is no time"),
    (["log-level", "debug"], {"DATA_DIR": "none"}, "there is no folder"),
    *((["spool", name], {"DATA_DIR": "none"}, "there is no folder") for name in ("ls", "verify", "retry", "drain")),
    *((["spool", name], {"DATA_DIR": "events.ndjson"}, "events.ndjson") for name in ("ls", "verify", "retry", "drain")),
    (["spool", "ls"], {"DATA_DIR": "spoiled"}, "spoiled/spool cannot be read: Not a directory"),
    (["tail"], {"DATA_DIR": "none"}, "there is no queue yet"),
    *(
        (words, settings, said)
        for words in (
            ["audit"],
            ["cluster", "ls"],
            ["cluster", "switch"],
            ["dead", "ls"],
            ["dead", "retry", "1"],
            ["dead", "drop", "--all"],
            ["events", "ls", "--call", "a"],
            ["events", "show", "1"],
            ["events", "resend", "1"],
            ["retention"],
            REPLAY,
            ["spool", "drain"],
            ["tokens", "create", "a"],
            ["tokens", "list"],
            ["tokens", "revoke", "a"],
            ["tokens", "rotate", "a"],
        )
        for settings, said in (
            (MYSQL, "MySQL"),
            ({"DATABASE_URL": "sqlite:///none/none.db"}, "there is no database file"),
            ({"DATABASE_URL": "sqlite:///latin1.ndjson"}, "file is not a database"),
        )
        if not (words[0] in ("cluster", "retention") and settings is not MYSQL)
    ),
    (["migrate"], MYSQL, "MySQL"),
    *((["adopt", *words], MYSQL, "MySQL") for words in ([], ["--run"], ["--back"])),
    (["adopt"], {}, "needs MySQL or MariaDB"),
    (["adopt", "--prepare", "--run"], {}, "exclude each other"),
    (["adopt", "--prepare", "--back"], {}, "needs --from"),
    (["adopt", "--from", "calls"], {}, "--from needs --back"),
    (["migrate"], {"DATABASE_URL": "sqlite:///latin1.ndjson"}, "file is not a database"),
    (["migrate"], {"DATABASE_URL": "mysql://u:p@db/calls?ssl-ca=x&other=1", "API_TOKENS": "t"}, "unknown option"),
    (["tail"], RABBITMQ, "cannot be reached"),
    (["tail"], STREAM, "cannot be read"),
    (["tokens", "create", "a b"], {}, "is no name"),
    (["tokens", "create", "a", "--burst", "1"], {}, "--burst needs a rate"),
    (["tokens", "create", "a", "--scope", "post", "--scope", "read"], {}, "stands alone"),
    (["tokens", "create", "a", "--scope", "read", "--events-per-second", "1"], {}, "only the scope post"),
    (["tokens", "hash"], {}, "token"),
    (["dead", "retry"], {}, "Give ids"),
    (["erase"], {}, "Give --number or --call"),
    (["erase", "--number", " "], {}, "An empty number"),
    (["erase", "--number", "1" * 129], {}, "at most 128 characters"),
    (["erase", *["--call", "a"] * 101], {}, "at most 100"),
    (["erase", "--number", "1"], {"DATA_DIR": "none"}, "there is no folder"),
    (["events", "ls", "--type", "a"], {}, "--type has no index"),
    (["events", "ls", "--since", "x"], {}, "is no time"),
    (["events", "resend", *map(str, range(1, 102))], {}, "at most 100 ids"),
    (["--env-file", "none.env", "config"], {}, "none.env cannot be read"),
    (["--env-file", "latin1.ndjson", "config"], {}, "latin1.ndjson:1: the line is not UTF-8"),
    (["--env-file", ".", "config"], {}, "Is a directory"),
    *(([*command], {"PORT": "x"}, "INGEST_PORT") for command in (["config"], ["doctor"], ["serve"], ["migrate"])),
]
"""Words, settings, and a part of the reason. The exit code is 1."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database and files that no command can use."""
    path = tmp_path_factory.mktemp("bad-values")
    (path / "spoiled").mkdir()
    (path / "spoiled" / "spool").touch()
    (path / "events.ndjson").write_text("{}\n")
    for name in ("latin1.ndjson", "latin1.toml"):
        (path / name).write_bytes(b"description = 'caf\xe9'\n" * 100)
    (done,) = run_commands(path, [Run(["migrate"])])
    assert done.code == 0, done
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> list[Done]:
    runs = [*(Run(words) for words, _ in USAGE), *(Run(words, settings) for words, settings, _ in FAILED)]
    return run_commands(folder, runs)


def test_no_bad_value_ends_in_a_traceback(done: list[Done]) -> None:
    assert [(one.words, one.traceback[-300:]) for one in done if one.traceback] == []


def test_each_reason_is_one_line_that_names_the_value(done: list[Done]) -> None:
    said = [said for _, said in USAGE] + [said for *_, said in FAILED]
    wrong = [(one.words, part, one.stderr) for one, part in zip(done, said, strict=True) if part not in one.reason]

    assert wrong == []
    assert [one.words for one in done[len(USAGE) :] if not one.reason.startswith("ingest: ")] == []


def test_usage_is_told_from_failure_by_the_exit_code(done: list[Done]) -> None:
    expected = [2] * len(USAGE) + [1] * len(FAILED)

    assert [(one.words, one.code) for one, code in zip(done, expected, strict=True) if one.code != code] == []


def test_no_reason_has_a_password_or_a_result_beside_it(done: list[Done]) -> None:
    assert [one.words for one in done if PASSWORD in one.stderr + one.stdout or one.stdout] == []


def test_command_that_fails_leaves_no_file(folder: Path, done: list[Done]) -> None:
    assert not (folder / "none").exists()


def test_each_command_has_bad_values() -> None:
    tried = {word for words, _ in USAGE for word in words} | {word for words, *_ in FAILED for word in words}

    assert COMMANDS.keys() - tried == set()


def test_command_names_its_database_and_broker(done: list[Done]) -> None:
    silent = [
        one.words
        for one, (words, settings, _) in zip(done[len(USAGE) :], FAILED, strict=True)
        if (settings is MYSQL and "database: mysql://ingest:***@127.0.0.1:" not in one.stderr)
        or (settings in (RABBITMQ, STREAM) and "://ingest:***@127.0.0.1:" not in one.stderr)
        or (words[0] == "spool" and "data folder: " not in one.stderr)
    ]
    assert silent == []
