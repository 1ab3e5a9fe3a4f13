"""How many threads the libraries of a process compute with."""

import threading
from importlib import import_module, util

import cv2
import torch


class Threads:
    """So many threads for PyTorch, OpenCV and, where it is there, FAISS.

    OpenMP, and FAISS by it, has a number for each thread that calls it, and an actor's calls come from any of
    several: each says `here` before it computes.

    Args:
        number: 1 or more.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._known = threading.local()

    def here(self) -> None:
        """Compute with so many in this thread."""
        if getattr(self._known, "set", False):
            return
        torch.set_num_threads(self._number)
        cv2.setNumThreads(self._number)
        if util.find_spec("faiss") is not None:
            import_module("faiss").omp_set_num_threads(self._number)
        self._known.set = True
