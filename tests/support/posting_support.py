"""A webhook sink on a server of the test."""

from pathlib import Path
from typing import Any

import pytest
from item_support import queue_folder, using
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


def deliver(sink: WebhookSink, *items: Item) -> int:
    return using(sink, lambda one: one.deliver(items))
