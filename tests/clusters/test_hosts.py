"""URLs with several hosts of a Galera cluster."""

import pytest

from ingest.errors import StoreUnavailable
from ingest.store.mysql.pool import Servers
from tests.clusters.scene import WHOLE_SECONDS, Clusters, of_all
from tests.services import wait_until

CONNECT_SECONDS = 5.0
SYNC_WAIT = b"SELECT @@wsrep_sync_wait"


async def test_node_without_a_majority_is_not_used(both: Clusters) -> None:
    first, *others = both.galera
    address = f"{first.host}:{first.port}"
    servers = Servers.parse(of_all(first.fresh_database(), [address, address]))
    for node in others:
        node.node.cut_off()
    try:
        assert wait_until(lambda: not first.is_ready, WHOLE_SECONDS)
        with pytest.raises(StoreUnavailable, match=r"not ready in its Galera cluster|not yet prepared"):
            await servers.connect(CONNECT_SECONDS)
    finally:
        for node in others:
            node.node.join_again()
        assert wait_until(lambda: all(node.is_synced for node in both.galera), WHOLE_SECONDS)
    await (await servers.connect(CONNECT_SECONDS)).end()


async def test_current_reads_see_commits_of_other_nodes(both: Clusters) -> None:
    url = both.galera[1].fresh_database()
    for current_reads, wait in ((True, 3), (False, 0)):
        connection = await Servers.parse(url, current_reads=current_reads).connect(CONNECT_SECONDS)
        assert await connection.run(SYNC_WAIT) == [(wait,)]
        await connection.end()
