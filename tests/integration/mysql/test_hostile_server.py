"""The whole service and its commands, on a server whose settings differ as much as possible from the defaults."""

from pathlib import Path

from ingest.retention.kept_rows import keep_nothing
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.pool import Servers
from tests.conftest import PATIENCE
from tests.contract.store.hostile import HostileMySQL, make
from tests.contract.store.stores import TIMEOUT_SECONDS
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.unit.making import body

EVENTS = 20
SECONDS = 60.0
ROWS = "SELECT COUNT(*) FROM call_event_logs"


def test_service_and_commands_do_what_they_say(
    hostile_mysql: MySQLServer, rabbitmq: RabbitMQServer, tmp_path: Path
) -> None:
    database = HostileMySQL(hostile_mysql)
    servers = {"DATABASE_URL": database.url, "BROKER_URL": rabbitmq.amqp_url, "QUEUE": rabbitmq.fresh_queue_name()}
    settings = PATIENCE | servers
    with ServiceProcess(tmp_path, settings) as service:
        service.wait_for_status("ready")
        assert {service.post(body(call_id=f"call-{number}"))[0] for number in range(EVENTS)} == {200}
        assert wait_until(lambda: database.query("SELECT COUNT(*) FROM ingest_outbox") == [(0,)], SECONDS)
        service.command("tokens", "create", "pbx")
        assert service.command("replay").stdout.startswith(f"{EVENTS} events published")
        service.command("retention", "--convert")
        service.command("retention", "--days", "30")
        service.command("doctor")

    assert database.query(ROWS) == [(EVENTS,)]
    assert database.query("SELECT name FROM ingest_tokens") == [("pbx",)]


async def test_day_of_a_table_that_states_no_row_format_is_dropped(hostile_mysql: MySQLServer) -> None:
    """A table of an earlier version, made while the server had another default."""
    database = HostileMySQL(hostile_mysql)
    await database.migrate()
    definition = database.query("SHOW CREATE TABLE call_event_logs")[0][1].replace("ROW_FORMAT=DYNAMIC", "")
    days = "PARTITION p20250131 VALUES LESS THAN (1000), PARTITION pmax VALUES LESS THAN MAXVALUE"
    database.query("DROP TABLE call_event_logs")
    make(hostile_mysql, "innodb_default_row_format", "'dynamic'")
    try:
        database.query(f"{definition} PARTITION BY RANGE (id) ({days})")
    finally:
        make(hostile_mysql, "innodb_default_row_format", "'redundant'")

    table = await PartitionedTable.open(Servers.parse(database.url), TIMEOUT_SECONDS)
    try:
        first, _ = (await table.facts()).partitions
        await table.drop(first, keep_nothing)
        left = (await table.facts()).partitions
    finally:
        await table.close()

    assert [partition.name for partition in left] == ["pmax"]
