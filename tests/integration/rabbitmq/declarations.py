"""Runs one line of docs/consumers.md, a declaration, with the client that it is for."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

JARS = ":".join(f"/usr/share/java/{name}.jar" for name in ("amqp-client", "slf4j-api"))


def in_node(code: str, url: str, name: str, _: Path) -> list[str]:
    """The command that runs one line of the documents in which `channel` and `name` exist."""
    text = (
        "import amqp from 'amqplib'; const [url, name] = process.argv.slice(1);"
        f"const connection = await amqp.connect(url); const channel = await connection.createChannel(); await {code};"
        "await connection.close()"
    )
    return ["node", "--input-type=module", "-e", text, url, name]


def in_php(code: str, url: str, name: str, _: Path) -> list[str]:
    text = (
        "require 'PhpAmqpLib/autoload.php'; use PhpAmqpLib\\Wire\\AMQPTable; [, $url, $name] = $argv;"
        "$p = parse_url($url); $connection = new PhpAmqpLib\\Connection\\AMQPStreamConnection($p['host'], $p['port'],"
        f"$p['user'], $p['pass']); $channel = $connection->channel(); {code}; $connection->close();"
    )
    return ["php", "-r", text, url, name]


def in_java(code: str, url: str, name: str, folder: Path) -> list[str]:
    (folder / "Declare.java").write_text(
        "import java.util.Map; public class Declare { public static void main(String[] a) throws Exception {"
        "var factory = new com.rabbitmq.client.ConnectionFactory(); factory.setUri(a[0]); String name = a[1];"
        f"var connection = factory.newConnection(); var channel = connection.createChannel(); {code};"
        "connection.close(); } }"
    )
    return ["java", "-cp", JARS, str(folder / "Declare.java"), url, name]


def in_pika(code: str, url: str, name: str, _: Path) -> list[str]:
    text = (
        "import pika, sys\nurl, name = sys.argv[1:]\n"
        "connection = pika.BlockingConnection(pika.URLParameters(url + '/'))"
        f"\nchannel = connection.channel()\n{code}\nconnection.close()"
    )
    return [sys.executable, "-c", text, url, name]


def in_aio_pika(code: str, url: str, name: str, _: Path) -> list[str]:
    text = (
        "import aio_pika, asyncio, sys\nasync def main(url, name):\n"
        " async with await aio_pika.connect(url) as connection:"
        f"\n  channel = await connection.channel()\n  {code}\nasyncio.run(main(*sys.argv[1:]))"
    )
    return [sys.executable, "-c", text, url, name]


CLIENTS: Mapping[str, Callable[[str, str, str, Path], list[str]]] = {
    "Node, amqplib": in_node,
    "PHP, php-amqplib": in_php,
    "Java": in_java,
    "Python, aio-pika": in_aio_pika,
    "Python, pika": in_pika,
}
