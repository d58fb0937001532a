"""How each fenced block of the documents is proven. A new block needs a row here: `make blocks` shows the list."""

from typing import NamedTuple

from tests.documents import Block

EXECUTED, PARSED, EXEMPT = "executed", "parsed", "exempt"

DRAWING = "a drawing"
FIGURES = "the results of a run, with its date and commit"

README_TEST = "tests/integration/project/test_readme.py"
RUN = "tests/integration/project/test_blocks.py"
MIGRATION = "tests/migration/test_from_laravel.py::test_moving_there_and_back_and_there_again_loses_and_doubles_nothing"
KIT = "tests/integration/rabbitmq/test_consumer_kit.py"


class Proof(NamedTuple):
    """The block of `document` whose first line begins with `first`.

    `by` is the test that executes it, the parser in `tests/documents/parsers.py`, or the reason of the exemption.
    """

    document: str
    first: str
    how: str
    by: str


PROOFS = (
    Proof("CONTRIBUTING.md", "make install-dev", PARSED, "make"),
    Proof("CONTRIBUTING.md", "make test", PARSED, "make"),
    Proof("CONTRIBUTING.md", "make sid-python", PARSED, "make"),
    Proof("README.md", "make run", EXECUTED, f"{README_TEST}::test_the_first_commands_store_an_event_and_print_it"),
    Proof(
        "README.md",
        "curl -H 'X-API-TOKEN",
        EXECUTED,
        f"{README_TEST}::test_the_first_commands_store_an_event_and_print_it",
    ),
    Proof("README.md", ".venv/bin/ingest demo", PARSED, "ingest"),
    Proof("README.md", "docker compose up", PARSED, "compose"),
    Proof("README.md", "ingest migrate", EXECUTED, f"{RUN}::test_the_commands_for_own_servers_end_in_a_ready_service"),
    Proof("SECURITY.md", "telephony servers", EXEMPT, DRAWING),
    Proof("bench/README.md", "make budgets", PARSED, "make"),
    Proof("bench/README.md", "make bench PYTHON=", PARSED, "make"),
    Proof("bench/README.md", "BENCH_TOKEN=", PARSED, "locust"),
    Proof("bench/README.md", "== unmodified", EXEMPT, FIGURES),
    Proof("bench/README.md", "python -m bench.report.history", PARSED, "history"),
    Proof("bench/README.md", "load  ", EXEMPT, FIGURES),
    Proof("bench/peers/README.md", "make bench-peers", PARSED, "make"),
    Proof("docs/az/README.md", "make run", PARSED, "make"),
    Proof("docs/az/README.md", "docker compose up", PARSED, "compose"),
    Proof("docs/az/README.md", "ingest migrate", EXECUTED, f"{RUN}::test_the_azerbaijani_commands_store_an_event"),
    Proof("docs/az/README.md", "curl -H", EXECUTED, f"{RUN}::test_the_azerbaijani_commands_store_an_event"),
    Proof("docs/az/README.md", "ingest tail", EXECUTED, f"{RUN}::test_the_azerbaijani_commands_store_an_event"),
    Proof("docs/az/README.md", '{"status"', PARSED, "json"),
    Proof("docs/az/README.md", "ingest adopt", PARSED, "ingest"),
    Proof("docs/check.md", "$ export CALL_EVENTS_TOKEN", PARSED, "console"),
    Proof("docs/check.md", "on: [deployment_status]", PARSED, "github"),
    Proof("docs/check.md", "check:", PARSED, "gitlab"),
    Proof(
        "docs/clients/forms.md",
        "description = ",
        EXECUTED,
        "tests/unit/sources/test_form.py::test_example_of_the_documentation_is_a_form",
    ),
    Proof("docs/clients/forms.md", "ingest clients try", EXECUTED, f"{RUN}::test_a_captured_body_becomes_an_event"),
    Proof("docs/commands.md", "# a comment", PARSED, "settings"),
    Proof("docs/consumers.md", "rabbitmqctl set_policy call-events-parked", EXECUTED, f"{KIT}::consumed"),
    Proof("docs/consumers.md", "INGEST_QUEUE=call-events.parked ingest tail", EXECUTED, f"{KIT}::tail_of_parked"),
    Proof(
        "docs/consumers.md",
        "rabbitmqctl set_policy call-events-all",
        EXECUTED,
        f"{KIT}::test_every_application_gets_all_events_by_a_policy",
    ),
    Proof(
        "docs/consumers.md",
        "channel.exchange_declare",
        EXECUTED,
        f"{KIT}::test_every_application_gets_all_events_by_a_policy",
    ),
    Proof(
        "docs/consumers.md",
        "for name in (",
        EXECUTED,
        "tests/integration/rabbitmq/test_routing.py::"
        "test_documented_applications_get_their_events_and_the_queue_gets_all",
    ),
    Proof("docs/debian.md", "make deb", PARSED, "make"),
    Proof("docs/debian.md", "apt install", PARSED, "debian"),
    Proof("docs/debian.md", "runuser", PARSED, "debian"),
    Proof("docs/downloads.md", "cosign verify-blob", PARSED, "cosign"),
    Proof("docs/idempotency.md", "curl -H", EXECUTED, f"{RUN}::test_a_repeated_key_stores_one_event"),
    Proof("docs/idempotency.md", "export CALL_EVENTS_TOKEN", EXECUTED, f"{RUN}::test_a_growing_file_is_sent"),
    Proof("docs/kubernetes/README.md", "kubectl create namespace", PARSED, "kubectl"),
    Proof("docs/kubernetes/README.md", "helm install", PARSED, "helm"),
    Proof("docs/kubernetes/README.md", "rules:", PARSED, "adapter"),
    *(
        Proof("docs/migrate-from-laravel.md", first, EXECUTED, MIGRATION)
        for first in (
            "global",
            "export INGEST_DATABASE_URL",
            "# nothing is changed",
            "ingest adopt --prepare",
            'echo "set server events/ingest',
            "ingest adopt --run",
            "ingest adopt --back --prepare",
            'echo "set server events/meanwhile',
            "# the first command only",
            'echo "set server events/laravel',
            "ingest adopt --back --from",
        )
    ),
    Proof("docs/rabbitmq.md", "INGEST_BROKER_URL=", PARSED, "settings"),
    Proof("docs/reliability.md", "make faults", PARSED, "make"),
    Proof("docs/streams.md", "INGEST_PUBLISH_TO=stream", PARSED, "settings"),
    Proof("docs/events.md", "ingest events ls --call", PARSED, "ingest"),
    Proof("docs/events.md", "ingest tokens create alice", PARSED, "ingest"),
    Proof("docs/events.md", "ingest audit", EXECUTED, f"{RUN}::test_tokens_are_created_rotated_and_revoked"),
    Proof("docs/tokens.md", "ingest tokens create alice", PARSED, "ingest"),
    Proof(
        "docs/tokens.md", "ingest tokens create pbx-1", EXECUTED, f"{RUN}::test_tokens_are_created_rotated_and_revoked"
    ),
    Proof("docs/tracing.md", "pip install", PARSED, "tracing"),
)


def proofs_of(block: Block) -> list[Proof]:
    """Return the rows for the block: one, unless the table is wrong."""
    return [proof for proof in PROOFS if proof.document == block.document and block.first.startswith(proof.first)]
