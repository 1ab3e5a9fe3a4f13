"""Imported before anything that loads torch: its OpenMP threads sleep between the backbone's turns.

By default they spin on for milliseconds after each piece of work, on the cores the matcher is given next.
What the environment says already is left alone.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
