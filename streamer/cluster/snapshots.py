"""When lines write their rings to disk: `streamer.server.snapshots.Snapshots` by asking them.

A line's state is copied while nothing is asked of it, whose replies all came: so a copy never holds a change that
the gate does not know of. The line writes the copy while it scores on.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from musc_online.errors import SnapshotError
from streamer.cluster.scoring import LineScoring
from streamer.errors import WireError
from streamer.server.journals import files
from streamer.server.restoring import Restorer
from streamer.server.snapshot_files import SUFFIX, file_name
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOK_S = 0.5
_BY_ITS_SIZE_S = 600.0
"""Beyond what any step may take: a disk takes a large ring its time, and the gate does not see how far it is."""


class LineSnapshots(Worker):
    """Has each line write what changed every `every_s` seconds; other threads may ask for it at once.

    Args:
        folder: of the files; None saves and restores nothing.
        every_s: seconds between rounds.
        streams: the open ones.
        scoring: knows the lines.
        restorer: of the same folder.
        tally: counts and tells.
        failed: called if the thread dies.
    """
