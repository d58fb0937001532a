"""Sets variables of a RabbitMQ node while it runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .rabbitmq import RabbitMQServer


@contextmanager
def variables(server: RabbitMQServer, **values: object) -> Iterator[None]:
    """Set variables of the application `rabbit` to Erlang terms, and restore them afterwards.

    Open connections and channels keep their old values.
    """
    before = {name: server.call("application:get_env", "rabbit", name, "undefined") for name in values}
    _set(server, values)
    try:
        yield
    finally:
        _set(server, before)


def _set(server: RabbitMQServer, values: Mapping[str, object]) -> None:
    """Set the variables, and the persistent term in which later versions keep the largest message's size."""
    for name, value in values.items():
        server.call("application:set_env", "rabbit", name, value)
        server.call("persistent_term:put", name, value)
