"""Prints every fenced block of the documents, and how it is proven."""

from tests.documents import blocks
from tests.documents.proofs import proofs_of


def main() -> None:
    for block in blocks():
        rows = proofs_of(block)
        proof = f"{rows[0].how:<8}  {rows[0].by}" if rows else "UNLISTED  add a row to tests/documents/proofs.py"
        print(f"{block.document}:{block.line}  {block.first[:50]}\n    {proof}")


if __name__ == "__main__":
    main()
