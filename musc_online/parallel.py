"""Threads shared by everything in the process that computes without Python's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def helpers(n_threads: int) -> ThreadPoolExecutor:
    """A pool that lives as long as the process: a stream more must not mean threads more."""
    return ThreadPoolExecutor(n_threads, "compute")


@cache
def soloists(n_threads: int) -> ThreadPoolExecutor:
    """A pool as that of `helpers`, but torch computes in each of its threads with that thread alone.

    First asked for by a thread in which torch computes with all threads, before others begin: a number that
    torch is told is not only the thread's own but, until it is told the next, that of threads new to it.
    """
    everybody, all_here = torch.get_num_threads(), Barrier(n_threads)

    def begin() -> None:
        torch.get_num_threads()  # a thread that asks for the first time forgets what it was told before
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(n_threads, "solo", begin)
    for waiting in [pool.submit(all_here.wait) for _ in range(n_threads)]:  # so each starts a thread
        waiting.result()
    torch.set_num_threads(everybody)
    return pool


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`[function(item) for item in items]` on as many threads as torch uses; calls do not nest."""
    n_threads = torch.get_num_threads()
    if n_threads < 2:
        return [function(item) for item in items]
    return list(helpers(n_threads).map(function, items))
