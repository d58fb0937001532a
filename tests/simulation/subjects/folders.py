"""Others delete, damage and restore files in the data folders of nodes."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.machine.nodes import Node
from tests.simulation.machine.snapshots import Snapshot, go_back, take_snapshot

if TYPE_CHECKING:
    from tests.simulation.world import World


class Folders:
    """Each method is a fault of one node, which the seed chooses."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._snapshots: dict[Node, Snapshot] = {}

    def snapshot(self) -> None:
        """It does nothing yet, so it is no fault."""
        world, node = self._world, self._world.some_node()
        folder = world.folder / f"snapshot-{len(self._snapshots)} of {node.name}"
        if node not in self._snapshots and node.folder.exists():
            self._snapshots[node] = take_snapshot(node, folder, world.system.segments, world.loop.time())
            world.say(f"a snapshot of {node.name} is taken")

    def go_back(self) -> None:
        """Somebody restores the folder. The machine may go on, or boot."""
        world, node = self._world, self._world.some_node()
        if node not in self._snapshots:
            return
        world.fault(f"the folder of {node.name} goes back to its snapshot")
        world.copies += 1
        world.kill_all_on(node)
        if world.chance.pick("boots with an old folder", 2):
            node.boots += 1
            node.booted_at = world.loop.time()
        gone = go_back(node, self._snapshots[node], world.system.segments, world.loop.time())
        world.ledger.excused |= gone - world.servers.rows.keys()

    def forget_slots(self) -> None:
        """A part of the data folder is restored. A worker that starts while the database is away has no slot."""
        node = self._world.some_node()
        self._world.fault(f"{node.name} forgets its id slots")
        for note in node.folder.glob("slots/slot-*.json"):
            note.unlink()

    def delete_file(self) -> None:
        """Somebody deletes a file of a spool that is in use. The worker has it open, and writes it anew."""
        world, node = self._world, self._world.some_node()
        files = sorted(node.folder.glob("spool/*"), key=lambda path: path.name.split(".")[:2])
        if files:
            victim = files[world.chance.pick("which file", len(files))]
            held = any(opened.path == str(victim) for opened in world.system.files.values())
            if held and not victim.name.startswith("."):
                world.fault(f"{victim.name.split('.')[:2]} of {node.name} is deleted")
                world.ledger.excused |= world.system.segments.deleted_by_others(str(victim))
                victim.unlink()

    def damage_file(self) -> None:
        """One byte of one record changes. Its events may be lost, and those of all other records may not."""
        world, node = self._world, self._world.some_node()
        if damaged := world.system.segments.damage(node):
            path, payloads = damaged
            world.fault(f"a byte of {Path(path).name.split('.')[:2]} of {node.name} changes")
            world.ledger.excused |= payloads
            if world.chance.pick("workers die after the damage", 2):  # a start reads the whole file
                world.kill_all_on(node)
