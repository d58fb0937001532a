"""An ordinary event loop, which reaches the models' addresses over the network in memory."""

import asyncio
from typing import Any

from tests.simulation.rabbitmq.network import Network


class NetworkLoop(asyncio.SelectorEventLoop):
    """Other addresses are real ones, and so is the time. The simulation has a loop of its own."""

    network: Network | None = None

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if self.network is not None and (host, port) in self.network:
            return await self.network.create_connection(protocol_factory, host, port)
        return await super().create_connection(protocol_factory, host, port, **options)
