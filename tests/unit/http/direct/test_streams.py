"""A short run of the fuzzer: `make fuzz` runs a million streams."""

import random

from tests.fuzz.streams import check

COUNT = 2_000
SEED = 20_261_129


def test_streams_in_pieces_get_the_responses_of_whole_ones() -> None:
    chance = random.Random(SEED)
    for _ in range(COUNT):
        check(chance)
