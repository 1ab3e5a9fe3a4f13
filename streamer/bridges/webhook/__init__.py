"""Items as signed HTTPS requests, by the scheme of Standard Webhooks."""

from streamer.bridges.registry import Bridge
from streamer.bridges.webhook.config import Webhook
from streamer.bridges.webhook.sink import WebhookSink

__all__ = ["BRIDGE", "Webhook", "WebhookSink"]

BRIDGE = Bridge(Webhook, lambda section, common: WebhookSink(section, common.queue.path))
