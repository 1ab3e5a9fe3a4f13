"""The detector as a service: all of `streamer` that imports `musc_online`, and with it torch.

Before torch is loaded, its OpenMP threads are told to sleep between the backbone's turns: by default they
spin on for milliseconds after each piece of work, on the cores the matcher is given next. What the
environment says already is left alone.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
