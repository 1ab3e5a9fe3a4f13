"""Requests to the detector with the page's key: each in a thread that cannot hold up the page or its end."""

import asyncio
import json
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from starlette.concurrency import run_in_threadpool

from streamer.ask import ask
from streamer.auth import ClientKeys
from streamer.errors import StreamerError, WireError
from streamer.wire.checks import check_frame_id

_WAITING = 16
_WORD_S, _LONG_S = 15.0, 120.0
_LONG = frozenset({"flush", "reset", "snapshot", "shutdown"})


class Refused(StreamerError):  # noqa: N818  (says what it is)
    """The detector was not asked, did not answer, or will not do it.

    Attributes:
        status: of HTTP.
        code: a word for machines.
    """

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


class Control:
    """The detector's control socket, one word at a time.

    What may take minutes (`flush`, `reset`, `snapshot`, `shutdown`) has a line of its own.

    Args:
        endpoint: the detector's `transport.control`.
        keys: the page's, where the detector asks for them.
        detector: how it is, as `Follower.detector` says it: nobody waits for one that is not there.
    """

    def __init__(
        self, endpoint: str, keys: ClientKeys | None, detector: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._endpoint, self._keys, self._detector = endpoint, keys, detector
        self._words, self._long = asyncio.Lock(), asyncio.Lock()
        self._waiting = 0

    @property
    def read_only(self) -> bool:
        """Whether the detector takes no words from this page."""
        return bool(self._detector()["read_only"])

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, and the detector's answer.

        Raises:
            Refused: there is none, or it is no; says which status of HTTP that is.
        """
        detector = await run_in_threadpool(self._detector)
        if not detector["up"]:
            raise Refused(504, "no_detector", "no detector is heard; nothing was said to it")
        if detector["read_only"]:
            raise Refused(
                409,
                "read_only",
                "this page only shows: the detector's control socket does not answer to its key; make one "
                "with musc-online keys DIR --page NAME",
            )
        if self._waiting >= _WAITING:
            raise Refused(503, "busy", f"{_WAITING} requests wait for the detector; try again")
        long = request["kind"] in _LONG
        self._waiting += 1
        try:
            async with self._long if long else self._words:
                answer = await _in_thread(request, self._endpoint, self._keys, _LONG_S if long else _WORD_S)
        except WireError as error:
            raise Refused(409, error.code, error.text) from None
        except StreamerError as error:
            raise Refused(504, "no_answer", str(error)) from None
        finally:
            self._waiting -= 1
        return _readable(answer)


def _readable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as a browser can read it: anybody may answer in a detector's place.

    Raises:
        Refused: it holds what JSON does not, or another kind of thing than this release's answers do.
    """
    try:
        json.dumps(answer, allow_nan=False)
        for side in ("before", "after"):
            if not isinstance(answer.get(side, {}), dict):
                raise TypeError(side)
        for side in ("to_anomalous", "to_normal"):
            for frame_id in answer.get(side, []):
                check_frame_id(frame_id)
    except (TypeError, ValueError, RecursionError, WireError):
        raise Refused(
            502, "bad_answer", "the detector's answer cannot be read; is it of another release than the page?"
        ) from None
    return answer


async def _in_thread(
    request: Mapping[str, Any], endpoint: str, keys: ClientKeys | None, timeout_s: float
) -> dict[str, Any]:
    """`ask` in a thread that ends with the process: the event loop's own are waited for at its end."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[dict[str, Any]] = loop.create_future()

    def tell(answer: dict[str, Any] | None, error: Exception | None) -> None:
        if answered.done():  # who asked has gone
            return
        if error is None:
            answered.set_result(answer or {})
        else:
            answered.set_exception(error)

    def work() -> None:
        answer, failed = None, None
        try:
            answer = ask(request, endpoint, keys=keys, timeout_s=timeout_s)
        except Exception as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, answer, failed)

    Thread(target=work, name="page-control", daemon=True).start()
    return await answered
