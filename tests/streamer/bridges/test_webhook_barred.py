"""A receiver that lets nothing in, and an item that alone is not let in: told apart."""

from typing import Any

import pytest
from item_support import using, verdict
from posting_support import receiver, section
from webhook_support import Receiver, answer, items_of

from streamer.bridges.sink import Item, Refused, Undelivered
from streamer.bridges.webhook import WebhookSink

__all__ = ["receiver"]


class Gate:
    """Something before the receiver that lets in what it likes; the rest is answered with a status."""

    def __init__(self, receiver: Receiver, status: int = 403) -> None:
        self.dislikes: set[int] = set()
        self.forgets = False  # what it dislikes, once it has let in something
        self._receiver, self._status = receiver, status
        receiver.always = self._answer

    def _answer(self, handler: Any) -> None:
        name, headers, body = self._receiver.tried[-1]
        if self.dislikes & {one["data"]["number"] for one in items_of(body)}:
            handler.say(self._status, b"forbidden")
        else:
            self._receiver.taken.append((name, headers, body))
            self.dislikes = set() if self.forgets else self.dislikes
            handler.say(200)


def worked_off(sink: WebhookSink, waiting: list[Item], now: list[float], tries: int) -> dict[int, str]:
    """Hand over what waits, a quarter of a minute between tries; why what was refused was."""
    refused = {}

    async def work(one: WebhookSink) -> None:
        for _ in range(tries):
            try:
                while waiting:
                    del waiting[: await one.deliver(waiting)]
            except Refused as error:
                refused[waiting.pop(0).number] = str(error)
            except Undelivered:
                now[0] += 15.0

    using(sink, work)
    return refused


@pytest.mark.parametrize(("batch", "status"), [(1, 401), (3, 401), (1, 400), (3, 400)])
def test_who_lets_nothing_in_is_away_however_long_and_nothing_is_refused(receiver, tmp_path, batch, status):
    """400: as of who has another secret, or another clock."""
    gate, now = Gate(receiver, status), [0.0]
    gate.dislikes = set(range(1, 9))
    sink = WebhookSink(section(tmp_path, receiver.url, batch=batch), tmp_path, lambda: now[0])
    waiting = [verdict(number) for number in range(1, 9)]
    assert worked_off(sink, waiting, now, 30) == {}
    assert len(waiting) == 8
    gate.dislikes = set()
    assert worked_off(sink, waiting, now, 1) == {}
    assert [one["number"] for one in receiver.told()] == list(range(1, 9))


@pytest.mark.parametrize("batch", [1, 3])
def test_an_item_that_alone_is_not_let_in_is_refused_once_others_get_through(receiver, tmp_path, batch):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {2, 3}
    sink = WebhookSink(section(tmp_path, receiver.url, batch=batch), tmp_path, lambda: now[0])
    # Alone in the line it waits: nobody can say whether it is the item.
    waiting = [verdict(2)]
    assert worked_off(sink, waiting, now, 9) == {}
    waiting = [verdict(number) for number in range(2, 8)]
    refused = worked_off(sink, waiting, now, 30)
    assert waiting == []
    assert list(refused) == [2, 3]
    assert "403 (forbidden) again and again, and took item 4 meanwhile" in refused[2]
    assert [one["number"] for one in receiver.told()] == [4, 5, 6, 7]  # each once


def test_others_that_were_not_let_in_are_tried_again(receiver, tmp_path):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1, 2, 3}
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), verdict(2), verdict(3)]
    assert worked_off(sink, waiting, now, 12) == {}
    gate.dislikes = {1}
    assert list(worked_off(sink, waiting, now, 3)) == [1]
    assert waiting == []
    assert [one["number"] for one in receiver.told()] == [2, 3]


def test_of_a_frame_nothing_gets_ahead_of_its_score(receiver, tmp_path):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1, 3}
    revisions = [
        verdict(number, kind="revision", frame_id=f"part-{number - 1}", before=False) for number in (2, 4)
    ]
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), revisions[0], verdict(3), revisions[1]]
    # Neither revision is tried, though each would get through.
    assert worked_off(sink, waiting, now, 30) == {}
    assert receiver.told() == []
    gate.dislikes = set()
    assert worked_off(sink, waiting, now, 1) == {}
    assert [one["number"] for one in receiver.told()] == [1, 2, 3, 4]


def test_what_was_taken_out_of_its_turn_is_in_no_batch_later(receiver, tmp_path):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1, 2, 3}
    sink = WebhookSink(section(tmp_path, receiver.url, batch=2), tmp_path, lambda: now[0])
    waiting = [verdict(number) for number in range(1, 7)]
    tries = 0
    while waiting[0].number == 1:
        tries += 1
        refused = worked_off(sink, waiting, now, 1)
    assert list(refused) == [1]
    assert tries > 5
    assert [one["number"] for one in receiver.told()] == [4]
    gate.dislikes = set()
    assert worked_off(sink, waiting, now, 1) == {}
    assert [one["number"] for one in receiver.told()] == [4, 2, 3, 5, 6]


def test_an_item_that_is_let_in_after_all_once_another_was_is_taken(receiver, tmp_path):
    """The receiver came back between the two: then all are let in."""
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1}
    gate.forgets = True
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), verdict(2), verdict(3)]
    assert worked_off(sink, waiting, now, 30) == {}
    assert [one["number"] for one in receiver.told()] == [2, 1, 3]


def test_a_gateway_that_lets_in_at_some_of_its_nodes_costs_no_item(receiver, tmp_path):
    """Another was let in, and the first not, again and again: then it was, by another node."""
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1}
    through = gate._answer

    def nodes(handler):
        if len(receiver.told()) == 1 and len(receiver.tried) >= after[0] + 4:
            gate.dislikes = set()
        after[0] = after[0] if receiver.told() else len(receiver.tried)
        through(handler)

    after = [0]
    receiver.always = nodes
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), verdict(2), verdict(3)]
    assert worked_off(sink, waiting, now, 30) == {}
    assert [one["number"] for one in receiver.told()] == [2, 1, 3]


@pytest.mark.parametrize(("step_s", "tries"), [(30.0, 5), (15.0, 5), (6.0, 11), (3600.0, 5)])
def test_an_item_is_judged_after_so_many_tries_and_so_long(receiver, tmp_path, step_s, tries):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1}
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting, counted = [verdict(1), verdict(2)], []

    async def work(one: WebhookSink) -> None:
        while not receiver.told():
            counted.append(now[0])
            with pytest.raises((Undelivered, Refused)):
                await one.deliver(waiting)
            now[0] += step_s

    using(sink, work)
    assert len(counted) == tries


def test_who_is_not_let_in_and_told_when_to_come_again_is_not_judged(receiver, tmp_path):
    now = [0.0]
    receiver.always = answer(403, retry_after="20")
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])

    async def work(one: WebhookSink) -> None:
        for _ in range(20):
            with pytest.raises(Undelivered):
                await one.deliver([verdict(1), verdict(2)])
            now[0] += 10.0

    using(sink, work)
    assert {one["data"]["number"] for _, _, one in receiver.tried} == {1}
    assert len(receiver.tried) == 10


def test_an_item_that_is_not_let_in_for_less_than_a_minute_is_not_judged(receiver, tmp_path):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1}
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), verdict(2)]

    async def work(one: WebhookSink) -> None:
        for _ in range(20):
            with pytest.raises(Undelivered, match="403"):
                await one.deliver(waiting)

    using(sink, work)
    assert receiver.told() == []


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "disliked", [list(range(2, 21, 2)), [1, 2, 3, 5, 6, 8, 9, 10, 12, 14]], ids=["every second", "runs"]
)
def test_once_an_item_was_proven_to_be_disliked_alone_the_others_hold_up_nothing(
    receiver, tmp_path, batch, disliked
):
    gate, now = Gate(receiver, 400), [0.0]
    gate.dislikes = set(disliked)
    sink = WebhookSink(section(tmp_path, receiver.url, batch=batch), tmp_path, lambda: now[0])
    waiting = [verdict(number) for number in range(1, 22)]
    assert list(worked_off(sink, waiting, now, 40)) == disliked
    assert waiting == []
    # Of the first alone: a minute, one more of its batch, a try for each behind it that is bad.
    assert now[0] <= 120.0
    assert sorted(one["number"] for one in receiver.told()) == sorted({*range(1, 22)} - set(disliked))


def judged(gate: Gate, sink: WebhookSink, now: list[float]) -> list[Item]:
    """What waits once the first item was proven to be disliked alone; the second was taken meanwhile."""
    gate.dislikes = {1}
    waiting = [verdict(number) for number in range(1, 11)]
    while waiting[0].number == 1:
        worked_off(sink, waiting, now, 1)
    return waiting


def test_who_then_lets_nothing_in_is_away_again_and_nothing_is_refused(receiver, tmp_path):
    """As of whose secret changes after a bad item."""
    gate, now = Gate(receiver, 400), [0.0]
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = judged(gate, sink, now)
    waiting += [verdict(number) for number in range(waiting[-1].number + 1, 31)]
    assert worked_off(sink, waiting, now, 1) == {}
    waiting = [verdict(number) for number in range(31, 41)]
    gate.dislikes = set(range(31, 41))
    asked = []
    for _ in range(9):
        before = len(receiver.tried)
        assert worked_off(sink, waiting, now, 1) == {}
        asked.append([one["data"]["number"] for _, _, one in receiver.tried[before:]])
    assert asked[0] == [31, 32, 33, 34, 35, 36]
    assert asked[1:4] == [[31]] * 3  # the minute counts again
    gate.dislikes = set()
    assert worked_off(sink, waiting, now, 1) == {}
    assert waiting == []


def test_an_item_that_is_let_in_after_all_makes_the_minute_count_again(receiver, tmp_path):
    """As of a gateway of which one node lets nothing in."""
    gate, now = Gate(receiver), [0.0]
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    judged(gate, sink, now)
    waiting = [verdict(number) for number in range(31, 41)]
    gate.dislikes, gate.forgets = {31}, True
    before = now[0]
    assert worked_off(sink, waiting, now, 1) == {}
    assert (waiting, now[0]) == ([], before)
    waiting, gate.dislikes, gate.forgets = [verdict(41), verdict(42)], {41}, False
    assert list(worked_off(sink, waiting, now, 9)) == [41]
    assert now[0] == before + 60.0
