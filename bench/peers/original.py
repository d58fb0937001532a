"""The Laravel original: the application of the peer, with tables of its own and a queue worker of its own.

`array` and `model` are the two forms of its jobs: they hold the event, or its row.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Literal

from bench.peers.deployment import Deployment
from bench.peers.posting import post
from bench.peers.stand import Stand
from tests.services import wait_until
from tests.services.sandbox import Sandbox, log_tail

Form = Literal["array", "model"]
START_SECONDS = 30


class Original(Deployment):
    """Its tables are made by its own migration."""

    preparing = (("config:cache",), ("route:cache",), ("migrate", "--force", "--path=database/original"))
    worker = ("queue:work", "--queue=call-events", "--sleep=1", "--tries=1", "--quiet")


@contextmanager
def original(stand: Stand, form: Form) -> Iterator[Original]:
    """Start the endpoint. Its worker runs only if a caller starts it. Raises AssertionError if it does not answer."""
    with closing(Sandbox("original")) as box:
        deployment = Original(stand, box, {"ORIGINAL": form})
        try:
            deployment.prepare()
            deployment.start_endpoint()
            answers = wait_until(lambda: _answers(stand.port), START_SECONDS)
            assert answers, f"the original does not answer:\n{log_tail(box.path / 'log')}"
            yield deployment
        finally:
            deployment.stop()


def _answers(port: int) -> bool:
    try:
        return post(port, b"{}", None)[0] < 500  # nginx answers 502 until php-fpm is ready
    except OSError:
        return False
