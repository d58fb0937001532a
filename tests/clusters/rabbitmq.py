"""A cluster of three RabbitMQ nodes, with quorum queues and replicated streams."""

import json
from collections.abc import Sequence

from tests.clusters.network import Node
from tests.services.rabbitmq import PrivateRabbitMQ
from tests.services.sandbox import ServerFailed

COOKIE = "of-the-tests-alone"
_CONFIG = """\
listeners.tcp.default = {host}:5672
stream.listeners.tcp.1 = {host}:5552
stream.advertised_host = {host}
stream.advertised_port = 5552
loopback_users = none
disk_free_limit.absolute = 50MB
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.target_cluster_size_hint = {size}
"""


class ClusterNode(PrivateRabbitMQ):
    """The node with the first of `addresses` starts first. The others join it."""

    def __init__(self, node: Node, addresses: Sequence[str]) -> None:
        super().__init__("rabbitmq", node)
        self.node = node
        self.host = node.address
        self.port, self.stream_port = 5672, 5552
        self.amqp_url = f"amqp://guest:guest@{self.host}:{self.port}/"
        self.stream_url = f"rabbitmq-stream://guest:guest@{self.host}:{self.stream_port}/"
        self._addresses = addresses
        self._epmd_port, self._dist_port, self._ctl_port = 4369, 25672, 35672
        self._node = f"rabbit@{self.host}"

    @property
    def is_whole(self) -> bool:
        """Return True if this node sees all three nodes running."""
        try:
            status = json.loads(self.ctl("cluster_status", "--formatter", "json"))
        except (ServerFailed, ValueError):
            return False
        return len(status["running_nodes"]) == len(self._addresses) and not status["partitions"]

    def _prepare(self) -> None:
        super()._prepare()
        cookie = self.sandbox.folder("home") / ".erlang.cookie"
        cookie.write_text(COOKIE)
        cookie.chmod(0o400)

    def _config(self) -> str:
        nodes = "".join(
            f"cluster_formation.classic_config.nodes.{number} = rabbit@{address}\n"
            for number, address in enumerate(self._addresses, 1)
        )
        return _CONFIG.format(host=self.host, size=len(self._addresses)) + nodes

    def _environment(self) -> dict[str, str]:
        interface = "{" + self.host.replace(".", ",") + "}"
        return {
            **super()._environment(),
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {interface}",
        }
