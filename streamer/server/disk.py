"""What a service has on disk, for itself alone: the snapshots' folder and the history."""

from musc_online.config import Config
from streamer.server import known_ids
from streamer.server.history import History
from streamer.server.locks import Lock
from streamer.server.snapshot_files import clear, prepare


class Disk:
    """The folder and file of a configuration, locked; `history` is open.

    Raises:
        StreamerError: one of them is another service's, or cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._locks: list[Lock] = []
        try:
            self._lock(config)
            if config.snapshot.path is not None:
                clear(config.snapshot.path)
            self.history = _open_history(config)
        except Exception:
            self._unlock()
            raise

    def close(self) -> None:
        """Close the history, and let others have what was locked; done twice it does nothing."""
        self.history.close()
        self._unlock()

    def _lock(self, config: Config) -> None:
        folder, history = config.snapshot.path, config.history.path
        if folder is not None:
            prepare(folder)
            self._locks.append(Lock("snapshot.path", folder, is_folder=True))
        if history is not None:
            self._locks.append(Lock("history.path", history, is_folder=False))

    def _unlock(self) -> None:
        for lock in self._locks:
            lock.release()


def _open_history(config: Config) -> History:
    """The history; where it is in memory, the ids of scored frames are beside the snapshots, if anywhere."""
    kept, limits = config.history, config.limits
    known_path = None
    if kept.path is None and config.snapshot.path is not None:
        known_path = known_ids.prepare(config.snapshot.path)
    return History(
        kept.path,
        max_messages=kept.max_messages,
        max_bytes=int(kept.max_bytes),
        durable=kept.durable,
        known_ids=limits.known_ids,
        streams=limits.streams + limits.sleeping,
        known_path=known_path,
        reliable=config.transport.reliable,
    )
