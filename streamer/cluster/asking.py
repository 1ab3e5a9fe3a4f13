"""`python -m streamer.cluster.asking HOST:PORT`: whether a cluster lets in who comes with this environment.

In a process of its own: Ray reads its token once, and never forgets it.
"""

import sys

from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError

REFUSED, LET_IN = 3, 4
"""Exit statuses; any other says that nobody answered."""
_ANSWER_S = 20


def _main() -> int:
    try:
        GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=_ANSWER_S)
    except AuthenticationError:
        return REFUSED
    return LET_IN


if __name__ == "__main__":
    sys.exit(_main())
