"""The files of a stream's journal that follow its snapshot, and those that do not."""

from dataclasses import dataclass, field
from pathlib import Path

from musc_online.errors import SnapshotError
from musc_online.snapshot_file import unreadable
from streamer.server.journals import beginning, files


@dataclass(frozen=True)
class Refused:
    """A file that cannot be used, or not all of it, and why; `aside`: where that was set aside already."""

    path: Path
    text: str
    aside: Path | None = None


@dataclass
class Chain:
    """The files of a journal that follow each other.

    Attributes:
        begins: number of the change that comes first; of the snapshot's next where there are no files.
        empty: nothing came before it: a snapshot that is there all the same is obsolete.
        files: with the number of the change each begins with.
        refused: files that do not fit, and why.
    """

    begins: int
    empty: bool
    files: list[tuple[int, Path]] = field(default_factory=list)
    refused: list["Refused"] = field(default_factory=list)

    def without(self, why: str) -> "Chain":
        """The same with none of its files, and why."""
        left = [Refused(path, f"{path}: {why}") for _, path in self.files]
        last = max((begins for begins, _ in self.files), default=self.begins)
        return Chain(last, True, refused=[*self.refused, *left])


def chain(folder: Path, stem: str, stream: str, number: int | None, since: int | None = None) -> Chain:
    """The files that follow a snapshot whose next change is `number`; None where there is no snapshot.

    What a snapshot or a reset made obsolete is deleted. So is the file of a reset that nobody was told of,
    where `since` is the first change of these: it has not been, and whoever asked for it asks again.

    Raises:
        UnreadableError: a file cannot be read just now.
    """
    found, refused = [], []
    base, empty = number, False
    for begins, path in files(folder, stem):
        try:
            said = beginning(path, begins)
            if said is not None and said.stream != stream:
                raise SnapshotError(f"{path}: is of stream '{said.stream}', expected '{stream}'")
        except SnapshotError as error:
            refused.append(Refused(path, str(error)))
            continue
        except OSError as error:
            raise unreadable(path, error) from None
        undone = said is not None and said.empty and since is not None and begins > since
        if said is None or undone:  # killed before it was begun
            path.unlink(missing_ok=True)
            continue
        found.append((begins, path))
        if said.empty and begins >= (base or 0):
            base, empty = begins, base is None or begins > base
    if base is None:
        refused += [Refused(path, f"{path}: follows a snapshot that is not there") for _, path in found]
        return Chain(max((begins for begins, _ in found), default=0), True, refused=refused)
    for begins, path in found:
        if begins < base:
            path.unlink(missing_ok=True)
    kept = [(begins, path) for begins, path in found if begins >= base]
    if kept and kept[0][0] != base:
        refused += [
            Refused(path, f"{path}: begins with change {begins}, expected {base}") for begins, path in kept
        ]
        kept = []
    return Chain(base, empty, kept, refused)
