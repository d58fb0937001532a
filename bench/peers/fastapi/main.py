"""A peer of the Call Events Service: FastAPI, SQLAlchemy and aio-pika, with one insert and one publish a request."""

# mypy: ignore-errors
# Its dependencies are in a separate environment, which this project's type checker does not see.

import hmac
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import aio_pika
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, model_validator
from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, Text, insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

CONNECTIONS_MAX = 20
DURATION_SECONDS_MAX = 2**31 - 1
SEQUENCE_BITS = 22
TOKEN = os.environ["API_TOKEN"].encode()
QUEUE = os.environ["QUEUE"]

logs = Table(
    "call_event_logs",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("call_id", String(255)),
    Column("event_type", String(64)),
    Column("payload", Text),  # JSON as received, not encoded again
    Column("created_time", DateTime),
)
INSERT = insert(logs)
engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="mysql+asyncmy"), pool_size=CONNECTIONS_MAX, max_overflow=0
)

Text255 = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Text128 = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text64 = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Duration = Annotated[int, Field(strict=True, ge=0, le=DURATION_SECONDS_MAX)]


class CallEvent(BaseModel):
    call_id: Text255
    from_number: Text128
    to_number: Text128
    event_type: Text64
    timestamp: AwareDatetime
    duration: Duration | None = None

    @model_validator(mode="after")
    def ended_call_has_duration(self) -> "CallEvent":
        if self.event_type == "call_ended" and self.duration is None:
            raise ValueError("The duration field is required when event type is call_ended.")
        return self


class Ids:
    """Makes ascending ids: 41 bits of milliseconds, 22 bits of sequence."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1_000_000 << SEQUENCE_BITS)
        return self._last


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with await aio_pika.connect_robust(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        app.state.exchange = channel.default_exchange
        app.state.ids = Ids()
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def authenticate(x_api_token: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(x_api_token.encode(), TOKEN):
        raise HTTPException(401, "Unauthenticated.")


@app.post("/api/call-events", dependencies=[Depends(authenticate)])
async def take(event: CallEvent, request: Request) -> dict[str, str]:
    body = await request.body()
    event_id = app.state.ids.next()
    row = {
        "id": event_id,
        "call_id": event.call_id,
        "event_type": event.event_type,
        "payload": body.decode(),
        "created_time": datetime.now(UTC).replace(tzinfo=None),
    }
    async with engine.begin() as connection:
        await connection.execute(INSERT, row)
    message = aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(event_id),
        type=event.event_type,
    )
    await app.state.exchange.publish(message, QUEUE)
    return {"status": "queued"}


@app.exception_handler(HTTPException)
async def refuse(_: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"message": error.detail}, error.status_code)


@app.exception_handler(RequestValidationError)
async def refuse_fields(_: Request, error: RequestValidationError) -> JSONResponse:
    fields: dict[str, list[str]] = {}
    for each in error.errors():
        fields.setdefault(str(each["loc"][-1]), []).append(each["msg"])
    return JSONResponse({"message": "The given data was invalid.", "errors": fields}, 422)
