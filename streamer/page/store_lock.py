"""One page for one store."""

from pathlib import Path

from streamer.folder_lock import FolderLock


class StoreLock(FolderLock):
    """A second page would count on in the first one's numbers, and each would tell its browsers half of it.

    Args:
        folder: the store's, made if missing.

    Raises:
        StreamerError: another page has it, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "store.path", "page", "--store")
