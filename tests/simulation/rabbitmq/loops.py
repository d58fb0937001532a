"""An ordinary event loop in which the models' addresses are reached over the network in memory."""

import asyncio
from typing import Any

from tests.simulation.rabbitmq.network import Network


class NetworkLoop(asyncio.SelectorEventLoop):
    """Real time. The simulation has a loop of its own."""

    network: Network

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        return await self.network.create_connection(protocol_factory, host, port)
