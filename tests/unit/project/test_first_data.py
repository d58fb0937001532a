"""The first data of a database server is made once for each build of its program, and copied for later servers."""

from pathlib import Path

import pytest

from tests.services.first_data import IDENTITY, fill


class Server:
    """Counts how often it makes data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.program = folder / "mysqld"
        self.program.write_text("first build")
        self.made = 0

    def start(self, name: str, *, fails: bool = False) -> set[str]:
        """Return the names of the files in its data."""
        data = self._folder / name
        data.mkdir()

        def make() -> None:
            self.made += 1
            for file in ("ibdata1", IDENTITY):
                (data / file).touch()
            if fails:
                raise OSError("disk full")

        fill(data, self._folder / "cache", self.program, make)
        return {file.name for file in data.iterdir()}

    def kept(self) -> list[Path]:
        return [one for one in (self._folder / "cache").iterdir() if one.is_dir()]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_data_is_made_once_and_each_server_has_an_identity_of_its_own(server: Server) -> None:
    assert server.start("one") == {"ibdata1", IDENTITY}
    assert server.start("two") == server.start("three") == {"ibdata1"}
    assert server.made == 1


def test_another_build_makes_its_own_data_and_removes_the_old_copy(server: Server) -> None:
    server.start("one")
    server.program.write_text("the second build")
    server.start("two")

    assert (server.made, len(server.kept())) == (2, 1)


def test_data_that_was_not_finished_is_not_kept(server: Server) -> None:
    with pytest.raises(OSError, match="disk full"):
        server.start("one", fails=True)
    assert server.kept() == []
    server.start("two")
    assert server.made == 2
