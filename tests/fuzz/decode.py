"""Coverage-guided fuzzing of all that reads a client's bytes: `make fuzz`, or with libFuzzer's own options

    python -m tests.fuzz.decode -runs=1000000 NEW_FINDS tests/fuzz/corpus

A failure leaves its input in a file `crash-…`; put it into the corpus, which every run of the tests goes through.
"""

import sys

import atheris

with atheris.instrument_imports(include=["ingest", "tests.fuzz.oracle"]):
    from tests.fuzz.checks import check_batch, check_event


def read(content: bytes) -> None:
    check_event(content)
    check_batch(content)


def main() -> None:
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
