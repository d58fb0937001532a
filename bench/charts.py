"""Draws the results as charts: for each results/TOOL-….json an SVG of the same name beside it.

The same JSON gives the same bytes, so a chart changes only when its figures change. File names as arguments limit the
charts to these files.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from bench.report import drawing, pictures
from bench.report.records import FOLDER

STYLE = Path(__file__).with_name("charts.mplstyle")
KINDS: Mapping[str, Callable[[drawing.Data], Figure]] = {
    "sweep": pictures.sweep,
    "saturation": pictures.saturation,
    "latency": pictures.latency,
    "growth": pictures.growth,
    "soak": pictures.soak,
}


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: Sequence[Path]) -> None:
    for file in files or results():
        print(draw(file))


def results(folder: Path = FOLDER) -> list[Path]:
    """Return the result files that have a chart."""
    return sorted(file for file in folder.glob("*.json") if kind_of(file) in KINDS)


def kind_of(file: Path) -> str:
    return file.stem.partition("-")[0]


def draw(file: Path) -> Path:
    """Draw the result, and return the chart's file.

    Raises ClickException if the file is no result, or is not in the form that its tool writes.
    """
    if kind_of(file) not in KINDS:
        raise click.ClickException(f"{file} is not a result of {', '.join(KINDS)}")
    picture = file.with_suffix(".svg")
    data = msgspec.json.decode(file.read_bytes())
    with mpl.rc_context(fname=STYLE):
        try:
            figure = KINDS[kind_of(file)](data)
        except (KeyError, TypeError) as exc:
            raise click.ClickException(f"{file} is not in the form that its tool writes now: {exc!r}") from exc
        figure.savefig(picture, metadata={"Date": None, "Title": title_of(figure)})
    return picture


def title_of(figure: Figure) -> str:
    """The text that a screen reader reads for the chart."""
    return "; ".join(axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left"))


if __name__ == "__main__":
    main()
