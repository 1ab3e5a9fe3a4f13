"""A loaded machine: busy loops beside whatever a test does."""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

_BUSY = "import sys; print(flush=True)\nwhile True: pass"


@contextmanager
def loaded(n_loops=None):
    """Busy loops in processes of their own, one a core and one more, for as long as the context lasts."""
    with ExitStack() as stack:
        for _ in range(n_loops or (os.cpu_count() or 1) + 1):
            loop = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(loop.kill)
            loop.stdout.readline()  # it runs
        yield
