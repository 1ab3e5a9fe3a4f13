"""A webhook sink on a server of the test."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from item_support import queue_folder
from webhook_support import Receiver, secret_file

from streamer.bridges.sink import Item
from streamer.bridges.webhook import Webhook, WebhookSink


@pytest.fixture
def receiver(tmp_path):
    queue_folder(tmp_path, "webhook")
    with Receiver() as one:
        yield one


def section(folder: Path, url: str, **more: Any) -> Webhook:
    if "secret_files" not in more:
        more["secret_files"] = (secret_file(folder),)
    return Webhook(**{"url": url, "timeout_s": 60.0, **more})


def posting(sink: WebhookSink, work: Callable[[WebhookSink], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        await sink.open()
        try:
            return await work(sink)
        finally:
            await sink.close()

    return asyncio.run(run())


def deliver(sink: WebhookSink, *items: Item) -> int:
    return posting(sink, lambda one: one.deliver(items))
