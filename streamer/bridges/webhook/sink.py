"""Items handed to a web server: one request at a time, so that they arrive in their order."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import structlog

from streamer.bridges.hidden import name_of
from streamer.bridges.identity import bridge_id
from streamer.bridges.seldom import Seldom
from streamer.bridges.sink import Item, Refused, Undelivered
from streamer.bridges.webhook.answers import Meaning, meaning, retry_after_s
from streamer.bridges.webhook.barred import Barred
from streamer.bridges.webhook.body import body, message_id, signed
from streamer.bridges.webhook.config import Webhook
from streamer.bridges.webhook.pending import Pending
from streamer.bridges.webhook.secrets import signers
from streamer.errors import StreamerError
from streamer.printable import printable

log = structlog.get_logger()

_READ_BYTES = 64 * 1024
"""Of an answer: it is read so far, that the connection can serve for the next request, and no farther."""
_SHOWN, _AGAIN = 100, 5
_HEADERS = {
    "content-type": "application/json",
    "user-agent": "musc-online-bridge",
    "accept": "*/*",
    "accept-encoding": "identity",  # nothing is inflated that nobody asked for
}


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: str | None
    excerpt: str

    @property
    def meaning(self) -> Meaning:
        return meaning(self.status)


class WebhookSink:
    """A sink that posts.

    Args:
        section: of the configuration.
        folder: of the queue, which has been opened.
        clock: seconds, of pauses that the receiver asks for.

    Raises:
        StreamerError: a secret or a certificate cannot be used; one line.
    """

    def __init__(self, section: Webhook, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._section = section
        self._signers = signers(section)
        self._tls = _tls(section)
        self._bridge = bridge_id(folder)
        self._pending = Pending(folder, section.batch)
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._not_before = -float("inf")
        self._barred = Barred(clock)
        self._batches = Seldom("webhook_batch_refused", "batches", "info")
        self._alone_until = -1
        self._gone = False

    async def open(self) -> None:
        """Make ready; the connection itself is made by the first request.

        Raises:
            Undelivered: nothing may be sent now, as the receiver asked for.
        """
        await self.close()
        self._check_may_send()
        # At its level INFO it logs whole addresses.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        named = self._section.proxy not in {None, "environment"}
        self._client = httpx.AsyncClient(
            verify=self._tls,
            trust_env=self._section.proxy == "environment",
            proxy=self._section.proxy if named else None,
            follow_redirects=False,
            timeout=self._section.timeout_s,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers=_HEADERS,
        )

    async def deliver(self, items: Sequence[Item]) -> int:
        """Post the first item, or with `batch` so many; returns how many the receiver took.

        Raises:
            Undelivered: no answer, one that means later, or a pause that the receiver asked for is not over.
            Refused: the receiver will not take the first.
        """
        self._check_may_send()
        if self._barred.has_passed(items[0]):
            return 1
        is_alone = items[0].number <= self._alone_until
        chosen = items[:1] if is_alone else self._pending.choose(self._barred.to_send(items))
        answer = await self._told(chosen)
        if answer.meaning is Meaning.TAKEN:
            return len(chosen)
        if answer.meaning is Meaning.BARRED and not self._barred.again(items[0]):
            raise Undelivered(f"{self._said(answer)}: it is asked again until it lets us in")
        if len(chosen) > 1:
            # Which of them it is that the receiver does not take, nobody said: they go one by one.
            self._alone_until = chosen[-1].number
            self._batches.add(status=answer.status, what_now="their items go one by one")
            return await self.deliver(items)
        if answer.meaning is Meaning.BARRED:
            return await self._try_another(items, answer)
        raise Refused(self._said(answer))

    async def _try_another(self, items: Sequence[Item], before: _Answer) -> int:
        """Whether it is the first item alone that the receiver does not let in: then it will never be taken.

        Raises:
            Undelivered: no other waits, or none is let in.
            Refused: another one is taken, and this one still is not.
        """
        other = await self._another_taken(items)
        if other is None:
            raise Undelivered(f"{self._said(before)}: it is asked again until it lets us in")
        self._barred.passed(other)
        for _ in range(_AGAIN):  # a gateway of several nodes may let in at one and not at the other
            answer = await self._told(items[:1])
            if answer.meaning is Meaning.TAKEN:
                self._barred.judge(alone=False)
                return 1
            if answer.meaning is not Meaning.BARRED:
                break
        self._barred.judge(alone=True)
        raise Refused(f"{self._said(answer)} again and again, and took item {other.number} meanwhile")

    async def _another_taken(self, items: Sequence[Item]) -> Item | None:
        """What was taken of that which waits behind the first; None where nothing was, or nothing waits.

        Raises:
            Undelivered: no answer, or one that means later.
        """
        for _ in range(self._barred.others):
            other = self._barred.another(items)
            if other is None:
                return None
            if (await self._told([other])).meaning is Meaning.TAKEN:
                return other
        self._barred.judge(alone=False)
        return None

    async def _told(self, chosen: Sequence[Item]) -> _Answer:
        """The answer to some items: that they are taken, that they never will be, or that we are not let in.

        Raises:
            Undelivered: none, or one that means later.
        """
        answer = await self._post(chosen)
        if answer.meaning is Meaning.GONE:
            self._gone = True
            log.error("webhook_gone", receiver=self._section.receiver)
            raise Undelivered(_gone(self._section.receiver))
        pause = self._pause(answer) if answer.meaning in {Meaning.AGAIN, Meaning.BARRED} else ""
        if answer.meaning is Meaning.AGAIN or pause:
            raise Undelivered(f"{self._said(answer)}{pause}")
        return answer

    def _said(self, answer: _Answer) -> str:
        return f"{self._section.receiver} answered {answer.status}{answer.excerpt}"

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                await client.aclose()

    def _check_may_send(self) -> None:
        if self._gone:
            raise Undelivered(_gone(self._section.receiver))
        left = self._not_before - self._clock()
        if left > 0:
            raise Undelivered(f"{self._section.receiver} asked for a pause; {left:.0f} s are left of it")

    def _pause(self, answer: _Answer) -> str:
        """Keep to what the receiver asked for, in bounds; says so."""
        asked = retry_after_s(answer.retry_after)
        if asked is None:
            return ""
        pause = min(asked, self._section.longest_retry_after_s)
        self._not_before = self._clock() + pause
        return f", and asked for {asked:.0f} s; called again in {pause:.0f} s"

    async def _post(self, chosen: Sequence[Item]) -> _Answer:
        if self._client is None:
            await self.open()
        assert self._client is not None  # noqa: S101 - opened above
        text = body(chosen, self._bridge)
        headers = signed(self._signers, message_id(chosen, self._bridge), text)
        limit_s = self._section.timeout_s
        answer: _Answer | None = None
        try:
            # httpx's own time limits begin anew with every byte that comes.
            async with (
                asyncio.timeout(limit_s),
                self._client.stream("POST", self._section.url, content=text, headers=headers) as response,
            ):
                answer = _Answer(response.status_code, response.headers.get("retry-after"), "")
                answer = replace(answer, excerpt=await _excerpt(response))
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            # The status has said it all: what becomes of the text behind it does not matter.
            if answer is None:
                raise Undelivered(self._why(error)) from None
        finally:
            self._client.cookies.clear()  # nothing that a receiver leaves with us piles up
        return answer

    def _why(self, error: Exception) -> str:
        receiver = self._section.receiver
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"{receiver} did not answer within {self._section.timeout_s:g} s"
        # httpx names no address in it, which may hold a token.
        text = str(error) or str(error.__cause__ or "") or type(error).__name__
        return f"{receiver} cannot be reached ({printable(text[:200])})"


async def _excerpt(response: httpx.Response) -> str:
    """The beginning of what the receiver said of a refusal, for a person; read in bounds."""
    start, read = b"", 0
    async for block in response.aiter_raw():
        read += len(block)
        start = (start + block)[: 4 * _SHOWN]
        if read > _READ_BYTES:
            break
    if response.is_success:
        return ""
    text = " ".join(start.decode("utf-8", "replace").split())[:_SHOWN]
    return f" ({printable(text)})" if text else ""


def _gone(receiver: str) -> str:
    return (
        f"{receiver} answered 410 Gone: it wants nothing more; nothing is sent until the bridge is started "
        "again, and what comes is kept in the queue"
    )


def _tls(section: Webhook) -> ssl.SSLContext:
    ca = _readable("ca_file", section.ca_file)
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise StreamerError(
            f"webhook.ca_file: {ca} holds no certificate that can be read ({error})"
        ) from None
    if section.client_cert is not None and section.client_key is not None:
        cert, key = _readable("client_cert", section.client_cert), _readable("client_key", section.client_key)
        try:
            # Who asks for a passphrase would wait for a terminal that there is not.
            context.load_cert_chain(str(cert), key, password="")
        except (OSError, ValueError) as error:
            raise StreamerError(
                f"webhook.client_cert: {cert} and {key} are no certificate and its key without a passphrase, "
                f"as PEM ({error})"
            ) from None
    return context


def _readable(key: str, path: Path | None) -> str | None:
    """A PEM file's path, once it has been read."""
    if path is None:
        return None
    try:
        text = path.read_bytes()[: 2**20]
    except OSError as error:
        raise StreamerError(f"webhook.{key}: {name_of(path)}: cannot be read ({error.strerror})") from None
    if b"-----BEGIN " not in text:
        raise StreamerError(f"webhook.{key}: {path}: holds no PEM, expected -----BEGIN ...")
    return str(path)
