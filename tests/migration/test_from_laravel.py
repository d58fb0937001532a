"""The move from Laravel by docs/migrate-from-laravel.md: there, back, and there again, with a ledger of all answers."""

import sys

import msgspec
import pytest

from bench.harness.targets import Servers
from bench.peers.original import Form
from tests.migration.journey import FAILED, Size, journey
from tests.services import MySQLServer, RabbitMQServer


@pytest.mark.timeout(3600)
def test_moving_there_and_back_and_there_again_loses_and_doubles_nothing(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, size: Size, form: Form
) -> None:
    with journey(Servers(mysql, rabbitmq), size, form) as moving:
        found = moving.run()

    sys.stderr.write(f"\n{form}: {msgspec.json.encode(found).decode()}\n")
    assert found.answered > size.events_per_second
    assert (found.refused, found.unknown) == (0, 0)
    assert (found.rows_lost, found.rows_doubled, found.seeds) == (0, 0, size.rows)
    assert (found.messages_lost, found.messages_doubled) == (0, 0)
    assert sum(found.dead_letters.values()) == found.failed_jobs >= FAILED
