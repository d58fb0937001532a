"""Reads the Dockerfile: its two stages and their instructions."""

import shlex

import msgspec

from tests.paths import ROOT


class Instruction(msgspec.Struct, frozen=True):
    """An instruction of the Dockerfile, with its continued lines joined."""

    name: str
    arguments: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.arguments)

    @property
    def argv(self) -> list[str]:
        """The arguments of the exec form."""
        return msgspec.json.decode(self.arguments[self.arguments.index("[") :], type=list[str])


def read_stages() -> list[list[Instruction]]:
    """Return the instructions of each stage; the first one is FROM."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    stages: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            instruction = Instruction(*line.split(maxsplit=1))
            if instruction.name == "FROM":
                stages.append([])
            stages[-1].append(instruction)
    return stages


BUILD, IMAGE = read_stages()


def only(name: str) -> Instruction:
    """Return the final stage's only instruction of this name."""
    (found,) = [instruction for instruction in IMAGE if instruction.name == name]
    return found
