"""The fast path of the direct listener: events without a task or a future of their own.

The head of a request is admitted before its body is received. One callback answers all events of a committed group.
Requests of telephony servers (`/in/…`) take this path too; a `Delivery` knows what is different for them.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from ingest.auth.authenticator import Client
from ingest.errors import BodyTimeout, BodyTooLarge, IngestError, Malformed, StoreError
from ingest.events.event import Event
from ingest.http.admission import Admission
from ingest.http.body_reader import CUT_OFF
from ingest.http.direct.head import announced_bytes
from ingest.http.direct.request import Delivery, Request
from ingest.http.event_handler import PATH, EventHandler
from ingest.http.responses import QUEUED, Response
from ingest.http.rsgi import Scope
from ingest.pipeline.outcomes import Failures, Undecided

log = logging.getLogger("ingest.requests")

TARGETS = frozenset({PATH.encode(), PATH.encode() + b"/"})
SOURCES = b"/in/"

Group = asyncio.Future[Failures | None]


class Sources(Protocol):
    """Begins the requests of telephony servers (`ingest.sources.handler`)."""

    def deliver(self, scope: Scope) -> Delivery: ...


Waiting = list[tuple[Request, Event, Client]]


class DirectEvents:
    """Handles `POST /api/call-events` as `EventHandler` does, and `POST /in/…` if there are `sources`."""

    def __init__(
        self, handler: EventHandler, admission: Admission, body_bytes_max: int, sources: Sources | None = None
    ) -> None:
        self._handler = handler
        self._sources = sources
        self._admission = admission
        self._body_bytes_max = body_bytes_max
        self._group: Group | None = None
        self._waiting: Waiting = []
        """Requests of the newest group."""
        self._tasks: set[asyncio.Task[None]] = set()

    def takes(self, request: Request) -> bool:
        """Return True if this path handles the request. An encoded body needs a task, and may need a thread."""
        if request.method != "POST" or "content-encoding" in request.headers:
            return False
        return request.target in TARGETS or (self._sources is not None and request.target.startswith(SOURCES))

    def begin(self, request: Request) -> bool:
        """Admit the request by its head, or refuse it. Return True if further requests may have the same head."""
        client = self._admit(request, announced_bytes(request.headers))
        if client:
            request.admitted = client
            request.proceed()
        return request.delivery is None or request.delivery.repeats_its_head

    def receive(self, request: Request, part: bytes) -> None:
        request.chunks.append(part)
        if request.received_bytes > self._body_bytes_max:
            self._refuse(
                request, BodyTooLarge(f"The body has more than {self._body_bytes_max} bytes, which is the limit.")
            )

    def complete(self, request: Request) -> None:
        """Submit the event, whose body is received."""
        client, chunks = request.admitted, request.chunks
        assert client is not None, "the head was admitted"  # noqa: S101 - a programming error
        self._submit(request, client, chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def take_whole(self, request: Request, body: bytes) -> None:
        """Admit and submit an event that was received at once."""
        if client := self._admit(request, len(body)):
            self._submit(request, client, body)

    def cut(self, request: Request, malformed: str | None) -> None:
        """The client ended the body early, or it is `malformed` for this reason."""
        self._refuse(request, Malformed(malformed) if malformed else BodyTimeout(CUT_OFF))

    def late(self, request: Request) -> None:
        self._refuse(request, BodyTimeout())

    def _admit(self, request: Request, size: int) -> Client | None:
        """Return the client of a request whose body has this size. None if the request is refused."""
        try:
            if request.target in TARGETS:
                _, client = self._admission.admit(request)
            else:
                assert self._sources, "it takes no others"  # noqa: S101 - a programming error
                request.delivery = self._sources.deliver(request)
                _, client = request.delivery.admit()
            if size > self._body_bytes_max:
                raise BodyTooLarge(f"The body has {size} bytes; the limit is {self._body_bytes_max}.")
        except IngestError as exc:
            self._refuse(request, exc)
            return None
        except Exception as exc:  # nobody foresees it: answer, and keep the connection
            self._refuse(request, self._admission.unforeseen(exc))
            return None
        return client

    def _submit(self, request: Request, client: Client, body: bytes) -> None:
        """Queue the event. Its response follows with those of its group."""
        delivery = request.delivery
        try:
            event, group = delivery.submit(body) if delivery else self._handler.submit(request.headers, client, body)
        except IngestError as exc:
            self._refuse(request, exc)
            return
        except Exception as exc:
            self._refuse(request, self._admission.unforeseen(exc))
            return
        if group is not self._group:
            self._group = group
            waiting: Waiting = []
            self._waiting = waiting
            group.add_done_callback(lambda done: self._answer(done, waiting))
        self._waiting.append((request, event, client))

    def _answer(self, group: Group, waiting: Waiting) -> None:
        if group is self._group:
            self._group = None
        if group.cancelled():
            return  # the worker ends
        failures = group.result()
        delivered = 0
        for request, event, client in waiting:
            try:
                if not failures:
                    if request.delivery:
                        delivered += 1
                        request.respond(request.delivery.accepted())
                    else:
                        client.events += 1
                        request.respond(QUEUED)
                    continue
                failure = failures.get(id(event))
                if isinstance(failure, Undecided):
                    self._run(self._answer_later(request, client, failure))
                else:
                    self._answer_one(request, client, failure)
            except Exception:  # one that fails must not hold up the others of its group
                give_up(request)
        if delivered:
            self._admission.count_response("client", 200, delivered)

    async def _answer_later(self, request: Request, client: Client, undecided: Undecided) -> None:
        try:
            self._answer_one(request, client, await undecided.failure())
        except Exception:
            give_up(request)

    def _answer_one(self, request: Request, client: Client, failure: StoreError | None) -> None:
        """Answer an event of a group that had failures."""
        if failure:
            self._refuse(request, failure)
            return
        if request.delivery:
            self._admission.count_response("client", 200)
            request.respond(request.delivery.accepted())
            return
        self._admission.count_response("single", 200)
        client.events += 1
        request.respond(QUEUED)

    def _refuse(self, request: Request, error: IngestError) -> None:
        request.admitted = None
        delivery = request.delivery
        response = delivery.refused(error) if delivery else self._admission.refusal(error, "single", request)
        if self._admission.delays(error):
            self._admission.after_delay(partial(respond, request, response))
        else:  # in the next turn, together with others: a send that wakes up a client costs three times as much
            asyncio.get_running_loop().call_soon(respond, request, response)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def respond(request: Request, response: Response) -> None:
    """Never raises, as nobody would close the connection."""
    try:
        request.respond(response)
    except Exception:
        give_up(request)


def give_up(request: Request) -> None:
    """Log the exception, and close the connection. The client sends an event without a response again."""
    log.exception("cannot send the response to an event, which may be durable", extra={"path": request.path})
    request.abort()
