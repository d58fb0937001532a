"""A consumer that reads the queue during a fault, and records when each message arrived."""

import json
import time

from tests.faults.harness.background import Background
from tests.faults.harness.ledger import Ledger, Message
from tests.faults.reading import channel_to
from tests.services import wait_until

QUIET_SECONDS = 0.2
SEEN_SECONDS = 60.0
STOP_SECONDS = 60.0


class Consumer(Background):
    """`with Consumer(url, queue) as seen:` consumes messages until the block ends."""

    def __init__(self, amqp_url: str, queue: str) -> None:
        super().__init__(STOP_SECONDS)
        self.messages: list[Message] = []
        self._came: dict[str, float] = {}
        self._amqp_url = amqp_url
        self._queue = queue

    def wait_for(self, events: int) -> None:
        """Wait until this number of different events has arrived."""
        if not wait_until(lambda: len(self._came) >= events, SEEN_SECONDS):
            raise AssertionError(f"{len(self._came)} of {events} events were seen")

    def delays(self, ledger: Ledger) -> str:
        """Describe the times from sending an event to its first arrival."""
        delays = sorted(came - ledger.ok[key] for key, came in self._came.items() if key in ledger.ok)
        p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
        return f"consumers saw events {p50:.2f} s after they were sent (p99 {p99:.2f} s, at most {delays[-1]:.2f} s)"

    def _run(self) -> None:
        with channel_to(self._amqp_url) as channel:
            consuming = channel.consume(self._queue, inactivity_timeout=QUIET_SECONDS)
            for method, properties, body in consuming:
                if method is not None:
                    self.messages.append((int(properties.message_id), body))
                    channel.basic_ack(method.delivery_tag)
                    self._came.setdefault(json.loads(body)["call_id"], time.monotonic())
                elif self._stopping.is_set():
                    break
            channel.cancel()
