"""The detector as a service: all of `streamer` that imports `musc_online`, and with it torch.

Before torch and NumPy are loaded, the threads of OpenMP and of NumPy's OpenBLAS are told to sleep between
their turns: by default they spin on after each piece of work, for milliseconds those of the backbone and for
tens of them those of a revision, on the cores that others are given next. What the environment says already
is left alone.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # a power of two of processor cycles, the least
