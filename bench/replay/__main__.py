"""Run as `python -m bench.replay`."""

import sys

from bench.replay.command import main

sys.exit(main())
