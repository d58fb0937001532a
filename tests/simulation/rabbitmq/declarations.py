"""Declares queues, exchanges and bindings for a channel. A refused declaration closes the channel."""

from typing import TYPE_CHECKING, Any

from pamqp import commands

from tests.simulation.rabbitmq.queues import Exchange, Queue

if TYPE_CHECKING:
    from tests.simulation.rabbitmq.channel import Channel

COMPARED = ("x-queue-type", "x-max-length", "x-overflow", "x-delivery-limit", "x-message-ttl", "x-expires")
"""The arguments of a queue that a declaration must repeat."""


def confirm_select(channel: "Channel", method: commands.Confirm.Select) -> None:
    channel.confirms = True
    channel.send(commands.Confirm.SelectOk())


def declare_queue(channel: "Channel", method: commands.Queue.Declare) -> None:
    broker, name = channel.broker, method.queue
    there = broker.queues.get(name)
    if method.passive:
        if there is None:
            channel.close(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", (50, 10))
            return
    elif "configure" in broker.denied:
        channel.close(403, f"ACCESS_REFUSED - configure access to queue '{name}' in vhost '/' refused", (50, 10))
        return
    elif there is None:
        broker.queues[name] = Queue(name, method.arguments or {}, bool(method.durable))
    elif difference := _difference(there, method):
        channel.close(406, f"PRECONDITION_FAILED - inequivalent arg {difference} for queue '{name}'", (50, 10))
        return
    channel.send(commands.Queue.DeclareOk(name, len(broker.messages(name)), 0))


def declare_exchange(channel: "Channel", method: commands.Exchange.Declare) -> None:
    broker, name = channel.broker, method.exchange
    there = broker.exchanges.get(name)
    if method.passive:
        if there is None:
            channel.close(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'", (40, 10))
            return
    elif "configure" in broker.denied:
        channel.close(403, f"ACCESS_REFUSED - configure access to exchange '{name}' refused", (40, 10))
        return
    elif there is None:
        broker.exchanges[name] = Exchange(name, method.exchange_type, bool(method.durable))
    elif there.kind != method.exchange_type:
        text = f"received '{method.exchange_type}' but current is '{there.kind}'"
        channel.close(406, f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}': {text}", (40, 10))
        return
    channel.send(commands.Exchange.DeclareOk())


def bind(channel: "Channel", method: commands.Queue.Bind) -> None:
    broker = channel.broker
    if "bind" in broker.denied:
        channel.close(403, f"ACCESS_REFUSED - write access to queue '{method.queue}' refused", (50, 20))
        return
    exchange = broker.exchanges.get(method.exchange)
    if exchange is None or method.queue not in broker.queues:
        missing = f"exchange '{method.exchange}'" if exchange is None else f"queue '{method.queue}'"
        channel.close(404, f"NOT_FOUND - no {missing} in vhost '/'", (50, 20))
        return
    exchange.bindings[method.routing_key, method.queue] = None
    channel.send(commands.Queue.BindOk())


def delete_queue(channel: "Channel", method: commands.Queue.Delete) -> None:
    count = len(channel.broker.messages(method.queue))
    channel.broker.delete_queue(method.queue)
    channel.send(commands.Queue.DeleteOk(count))


def delete_exchange(channel: "Channel", method: commands.Exchange.Delete) -> None:
    channel.broker.exchanges.pop(method.exchange, None)
    channel.send(commands.Exchange.DeleteOk())


def qos(channel: "Channel", method: commands.Basic.Qos) -> None:
    channel.send(commands.Basic.QosOk())


def _difference(queue: Queue, method: commands.Queue.Declare) -> str:
    """The first argument that differs, in RabbitMQ's words."""
    wanted = method.arguments or {}
    if bool(method.durable) != queue.durable:
        return f"'durable': received '{bool(method.durable)}' but current is '{queue.durable}'".lower()
    for name in COMPARED:
        given, there = wanted.get(name), queue.arguments.get(name)
        if name == "x-queue-type":
            given, there = given or "classic", queue.kind
        if given != there:
            return f"'{name}': received {given!r} but current is {there!r}"
    return ""


METHODS: dict[type, Any] = {
    commands.Confirm.Select: confirm_select,
    commands.Queue.Declare: declare_queue,
    commands.Queue.Bind: bind,
    commands.Queue.Delete: delete_queue,
    commands.Exchange.Declare: declare_exchange,
    commands.Exchange.Delete: delete_exchange,
    commands.Basic.Qos: qos,
}
