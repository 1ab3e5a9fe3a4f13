"""Work that one thread does for another: done whole or not begun."""

import threading

import pytest
from streamer_support import until

from streamer.server.threads import FairLock, run_there


def elsewhere(job):
    threading.Thread(target=job).start()


def test_the_result_or_the_error_comes_back():
    assert run_there(elsewhere, lambda: threading.current_thread() is threading.main_thread(), bool) is False
    with pytest.raises(ZeroDivisionError):
        run_there(elsewhere, lambda: 1 // 0, bool)


def test_what_was_given_up_is_never_begun():
    jobs, begun = [], []
    assert run_there(jobs.append, lambda: begun.append(1), lambda: True) is None
    jobs[0]()
    assert begun == []


def test_what_has_begun_is_waited_for():
    begun, asked = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert asked.wait(30)
        return "done"

    def give_up():
        assert begun.wait(30)
        asked.set()
        return True

    assert run_there(elsewhere, work, give_up) == "done"


def test_a_fair_lock_goes_to_who_has_waited_longest():
    lock, order = FairLock(), []

    def take(name):
        with lock:
            order.append(name)

    threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    with lock:
        for tickets, thread in enumerate(threads, 2):
            thread.start()
            until(lambda tickets=tickets: lock._next == tickets)
    take("who just had it")
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c", "who just had it"]
