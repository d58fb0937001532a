"""Commands of rabbitmqctl, by the functions of the running node that they call, and by variables of the node.

Each rabbitmqctl starts an Erlang machine of its own: over a second of CPU time. These functions take milliseconds.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .rabbitmq import RabbitMQServer

VHOST = '<<"/">>'
OPERATOR = '<<"tests">>'


def add_user(server: RabbitMQServer, name: str, password: str, *rights: str) -> None:
    """Add a user with these rights to configure, write and read."""
    user = _binary(name)
    server.evaluate(f'ok = rabbit_auth_backend_internal:add_user({user}, {_binary(password)}, {OPERATOR}), ""')
    configure, write, read = map(_binary, rights)
    given = f"{user}, {VHOST}, {configure}, {write}, {read}, {OPERATOR}"
    server.evaluate(f'ok = rabbit_auth_backend_internal:set_permissions({given}), ""')


def set_user_limits(server: RabbitMQServer, name: str, limits: Mapping[str, int]) -> None:
    given = f"{_binary(name)}, {_binary(json.dumps(limits))}, {OPERATOR}"
    server.evaluate(f'ok = rabbit_auth_backend_internal:set_user_limits({given}), ""')


def clear_user_limits(server: RabbitMQServer, name: str) -> None:
    given = f'{_binary(name)}, <<"all">>, {OPERATOR}'
    server.evaluate(f'ok = rabbit_auth_backend_internal:clear_user_limits({given}), ""')


def set_vhost_limits(server: RabbitMQServer, limits: Mapping[str, int]) -> None:
    """Set limits of the default virtual host. -1 is none."""
    given = f"{VHOST}, {_binary(json.dumps(limits))}, {OPERATOR}"
    server.evaluate(f'ok = rabbit_vhost_limit:parse_set({given}), ""')


def close_all_connections(server: RabbitMQServer, reason: str) -> None:
    server.evaluate(f'ok = rabbit_networking:close_all_connections({_binary(reason)}), ""')


def set_memory_watermark(server: RabbitMQServer, share: float) -> None:
    """Set the share of the machine's memory above which the node accepts no messages."""
    server.evaluate(f'vm_memory_monitor:set_vm_memory_high_watermark({share:.9f}), ""')


def arguments_of_queues(server: RabbitMQServer) -> Mapping[str, str]:
    """Return the arguments of all queues and streams, as an Erlang term each."""
    return _table(
        server,
        '[io_lib:format("~s\\t~0p~n", [Name, [{Key, Value} || {Key, _, Value} <- Arguments]])'
        f" || [{{name, {{resource, _, queue, Name}}}}, {{arguments, Arguments}}]"
        f" <- rabbit_amqqueue:info_all({VHOST}, [name, arguments])]",
    )


def keys_of_bindings(server: RabbitMQServer, exchange: str) -> Mapping[str, str]:
    """Return the key of each queue or stream that is bound to the exchange."""
    return _table(
        server,
        '[io_lib:format("~s\\t~s~n", [Queue, Key])'
        " || {binding, {resource, _, exchange, Source}, Key, {resource, _, queue, Queue}, _}"
        f" <- rabbit_binding:list({VHOST}), Source =:= {_binary(exchange)}]",
    )


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


def _table(server: RabbitMQServer, lines: str) -> dict[str, str]:
    told = server.evaluate(lines)
    return {name: text for name, _, text in (line.partition("\t") for line in told.splitlines())}


def _binary(text: str) -> str:
    return f"<<{','.join(map(str, text.encode()))}>>"
