"""Operators' words that come by the broker: checked, done at most once each, answered."""

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from streamer.bridges.mqtt.config import Commands
from streamer.bridges.mqtt.memory import Memory
from streamer.bridges.mqtt.messages import Arrival, Outgoing
from streamer.bridges.mqtt.payloads import VERSION, encode
from streamer.bridges.mqtt.topics import Topics
from streamer.bridges.seldom import Seldom
from streamer.errors import StreamerError, WireError
from streamer.printable import printable
from streamer.wire.checks import check_stream, shown
from streamer.wire.requests import check_word

log = structlog.get_logger()

Ask = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A request to the detector, and its answer; it blocks, and raises as `streamer.ask.ask` does."""

_OWN = frozenset({"id", "who"})
_ID, _WHO, _CORRELATION = 128, 100, 256
_LISTED = 100
"""Frame ids of an answer; its `n_` keys have the number of all."""


@dataclass(frozen=True)
class _Command:
    """A command as its sender meant it; `request` is what the detector is asked."""

    name: str
    command_id: str | None
    request: Mapping[str, Any]
    digest: bytes


class Words:
    """Does what comes on the topics of the commands that are allowed.

    Args:
        settings: which those are, and how large they may be.
        topics: of the bridge.
        memory: of what was done before.
        ask: the detector.
        most: bytes of an answer.
    """

    def __init__(self, settings: Commands, topics: Topics, memory: Memory, ask: Ask, *, most: int) -> None:
        self._settings, self._topics, self._memory, self._ask = settings, topics, memory, ask
        self._most = most
        self._failing = Seldom("mqtt_command", "times")
        self._names = {topics.command(name): name for name in settings.allow}
        self.counts: Counter[str] = Counter()
        """Of commands by how they ended: `done`, or a code of docs/bridges-mqtt.md."""

    @property
    def topics(self) -> list[str]:
        """Where words are taken."""
        return list(self._names)

    def close(self) -> None:
        """Nothing more comes: what the log has not told yet is told."""
        self._failing.flush()

    async def answer(self, arrival: Arrival) -> Outgoing | None:
        """Do what a message says, unless it must not be done, and say what came of it; never raises.

        None where there is nobody to answer: on a topic that we did not ask for.
        """
        name = self._names.get(arrival.topic)
        if name is None:
            return None
        command_id: str | None = None
        try:
            given = self._read(arrival)
            command_id = _command_id(given)
            command = self._check(name, command_id, given, arrival)
            told = await self._once(command)
        except WireError as error:
            told = encode(_failed(name, command_id, error))
            self._failing.add(command=name, id=command_id, code=error.code, text=error.text)
        except Exception:  # whatever a message brings about: it is one message, and told
            log.exception("mqtt_command_failed", command=name, id=command_id)
            failed = WireError("internal", "an error of the bridge itself; its log has the details")
            told = encode(_failed(name, command_id, failed))
        self.counts[_outcome(told)] += 1
        return self._outgoing(name, arrival, told)

    def _read(self, arrival: Arrival) -> dict[str, Any]:
        if arrival.retain:
            raise WireError("retained", "a retained message is no command; publish it without retain")
        if len(arrival.payload) > self._settings.max_bytes:
            raise WireError(
                "payload_too_large",
                f"got {len(arrival.payload)} bytes, expected at most {int(self._settings.max_bytes)}",
            )
        if arrival.correlation is not None and len(arrival.correlation) > _CORRELATION:
            raise WireError("bad_value", f"correlation data: expected at most {_CORRELATION} bytes")
        try:
            given = json.loads(arrival.payload.decode("utf-8"), parse_constant=_no_number, parse_int=_whole)
        except (ValueError, RecursionError) as error:
            raise WireError("malformed", f"is not JSON ({printable(error)[:100]})") from None
        if not isinstance(given, dict):
            raise WireError("malformed", f"got a {type(given).__name__}, expected an object")
        return given

    def _check(
        self, name: str, command_id: str | None, given: Mapping[str, Any], arrival: Arrival
    ) -> _Command:
        if command_id is None and arrival.again:
            raise WireError(
                "duplicate", "came again and may have been done; give each command an id to be sure"
            )
        who = given.get("who")
        if who is not None and not (isinstance(who, str) and 0 < len(who) <= _WHO and who.isprintable()):
            raise WireError("bad_value", f"who: got {shown(who)}, expected 1 to {_WHO} printable characters")
        request = {key: value for key, value in given.items() if key not in _OWN}
        if "kind" in request:
            raise WireError("unknown_key", "got the key 'kind'; the topic says which command it is")
        request["who"] = self._settings.who if who is None else f"{self._settings.who}:{who}"
        check_word(name, request)
        check_stream(request["stream"])
        request["kind"] = name
        said = json.dumps(request, sort_keys=True).encode("utf-8", "surrogatepass")
        return _Command(name, command_id, request, hashlib.sha256(said).digest())

    async def _once(self, command: _Command) -> bytes:
        """Do it, unless it was begun before; the answer, the same as then."""
        if command.command_id is None:
            return await self._do(command)
        try:
            begun = self._memory.begin(command.name, command.command_id, command.digest)
        except StreamerError as error:
            raise WireError("internal", f"{error}; not done") from None
        if begun is None:
            answer = await self._do(command)
            try:
                self._memory.answered(command.name, command.command_id, answer)
            except StreamerError as error:
                log.error("mqtt_command_not_kept", error=str(error))
            return answer
        digest, known = begun
        if digest != command.digest:
            raise WireError("id_reused", "another command had this id; this one is not done")
        self.counts["again"] += 1
        if known is None:
            raise WireError(
                "outcome_unknown",
                "was begun before, and its answer is not known; look before you say it again",
            )
        return known

    async def _do(self, command: _Command) -> bytes:
        try:
            answer = await _beside(partial(self._ask, command.request))
        except WireError as error:
            return encode(_failed(command.name, command.command_id, error))
        except StreamerError as error:
            failed = WireError("no_answer", f"{error}; it may have been done")
            return encode(_failed(command.name, command.command_id, failed))
        told = {**_head(command.name, command.command_id), "ok": True, "code": None, "text": None}
        told["answer"] = _shortened(answer)
        encoded = encode(told)
        return encoded if len(encoded) <= self._most else encode({**told, "answer": None})

    def _outgoing(self, name: str, arrival: Arrival, told: bytes) -> Outgoing:
        topic = arrival.response_topic
        if topic is not None and not self._topics.takes_answers(topic, self._settings.answer_prefixes):
            self.counts["response_topic_refused"] += 1
            log.warning("mqtt_response_topic_refused", topic=topic[:200], answered=self._topics.answer(name))
            topic = None
        correlation = arrival.correlation
        if correlation is not None and len(correlation) > _CORRELATION:
            correlation = None
        return Outgoing(topic or self._topics.answer(name), told, answers=correlation)


async def _beside(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it returns or raises; done in a thread that does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[str, Any]] = loop.create_future()

    def finish(answer: dict[str, Any] | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(answer or {})

    def run() -> None:
        answer, error = None, None
        try:
            answer = work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, answer, error)

    threading.Thread(target=run, name="mqtt command", daemon=True).start()
    return await done


def _command_id(given: Mapping[str, Any]) -> str | None:
    command_id = given.get("id")
    if isinstance(command_id, int) and not isinstance(command_id, bool):
        command_id = str(command_id)
    if command_id is None:
        return None
    if isinstance(command_id, str) and 0 < len(command_id) <= _ID and command_id.isprintable():
        return command_id
    raise WireError("bad_value", f"id: got {shown(command_id)}, expected 1 to {_ID} printable characters")


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError("a number is out of range")
    return int(text)


def _head(name: str, command_id: str | None) -> dict[str, Any]:
    return {"v": VERSION, "kind": "answer", "command": name, "id": command_id}


def _failed(name: str, command_id: str | None, error: WireError) -> dict[str, Any]:
    told = {**_head(name, command_id), "ok": False, "code": error.code}
    return {**told, "text": printable(error.text)[:500], "answer": None}


def _outcome(told: bytes) -> str:
    answer = json.loads(told)
    return "done" if answer["ok"] else str(answer["code"])


def _shortened(value: Any) -> Any:
    """Of long lists the newest; lists of ids have the oldest first."""
    if isinstance(value, Mapping):
        return {key: _shortened(one) for key, one in value.items()}
    return value[-_LISTED:] if isinstance(value, list) else value
