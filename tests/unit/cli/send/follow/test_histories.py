"""Random histories of writing, rotation, outages and kills: the service stores each line once, whatever happens."""

from collections import Counter
from pathlib import Path

import pytest

from tests.unit.cli.send.follow.world import World

SEEDS = 6


@pytest.mark.parametrize("kind", ["renamed", "truncated", "mixed"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_line_is_stored_once(tmp_path: Path, seed: int, kind: str) -> None:
    world = World(tmp_path, seed, kind)

    world.live()

    assert Counter(world.service.stored) == Counter(world.lines), world.said
    assert not (tmp_path / "calls.ndjson.rejected").exists()
    assert not [said for said in world.said if "is gone" in said]
