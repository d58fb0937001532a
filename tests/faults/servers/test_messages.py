"""Events that RabbitMQ refuses under load because they are too large."""

from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed, body_of
from tests.faults.harness.scene import PUBLISHED_SECONDS, scene
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.services.rabbitmq_operator import variables

MESSAGE_BYTES_MAX = 100_000


def test_message_too_large_becomes_a_dead_letter_and_delays_no_other(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form, report: Report
) -> None:
    large = [f"large-{number}" for number in range(3 * form.deletions)]
    settings = {"LEASE_SECONDS": str(form.lease_seconds)}
    with variables(rabbitmq, max_message_size=MESSAGE_BYTES_MAX), scene(mysql, rabbitmq, settings) as here:
        with here.load() as load:
            for key in large:
                here.wait_for_steady(load)
                body = body_of(key).replace(b"kept", b"k" * MESSAGE_BYTES_MAX)
                assert here.service.post(body)[0] == 200
            here.wait_for_steady(load)

        def dead() -> list[str]:
            return [line for line in here.service.command("dead", "ls").stdout.splitlines() if " large-" in line]

        assert wait_until(lambda: len(dead()) == len(large), PUBLISHED_SECONDS), here.service.log()
        letters = dead()
        lost = [line for line in here.service.log_lines() if line["message"] == "RabbitMQ connection lost"]
        result = report.add("message too large", len(large), here.account(load.ledger))
    assert all("406 PRECONDITION_FAILED - message size" in letter for letter in letters), letters
    assert len(lost) == 0, lost
    assert_unnoticed(result)
