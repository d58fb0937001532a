"""`python -m observability.dashboards`: write the JSON that Grafana reads."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.dashboards import benchmarks, capacity, overview, pipeline, runbooks, servers, telephony

FOLDER = Path(__file__).resolve().parents[1] / "grafana"
BOARDS = (overview, telephony, pipeline, capacity, servers, benchmarks, runbooks)


def made() -> dict[Path, str]:
    """Each file with its JSON."""
    boards = [module.board() for module in BOARDS]
    encode = JSONEncoder(sort_keys=True, indent=1).encode
    return {FOLDER / board.folder / f"{board.name}.json": encode(board.build()) + "\n" for board in boards}


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text, "utf-8")
        print(f"wrote {file.name}")
