"""Coverage-guided fuzzing of all code that reads a client's bytes: `make fuzz`, or with libFuzzer's options

    python -m tests.fuzz.decode -runs=1000000 NEW_FINDS tests/fuzz/corpus

A failure writes its input to a file `crash-…`. Put it into the corpus, which every run of the tests checks.
"""

import sys

import atheris

with atheris.instrument_imports(include=["ingest", "tests.fuzz.oracle"]):
    from tests.fuzz.checks import check_batch, check_event
    from tests.fuzz.sources import check_source


def read(content: bytes) -> None:
    check_event(content)
    check_batch(content)
    check_source(content)


def main() -> None:
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
