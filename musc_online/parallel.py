"""Threads shared by everything in the process that computes without Python's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def helpers(n_threads: int) -> ThreadPoolExecutor:
    """A pool that lives as long as the process: a stream more must not mean threads more."""
    return ThreadPoolExecutor(n_threads, "compute")


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`[function(item) for item in items]` on as many threads as torch uses; calls do not nest."""
    n_threads = torch.get_num_threads()
    if n_threads < 2:
        return [function(item) for item in items]
    return list(helpers(n_threads).map(function, items))
