"""How many threads the libraries of a process compute with."""

from importlib import import_module, util

import cv2
import torch


def use_threads(threads: int) -> None:
    """Have PyTorch, OpenCV and, where it is there, FAISS compute with so many threads; 1 or more."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if util.find_spec("faiss") is not None:
        import_module("faiss").omp_set_num_threads(threads)
