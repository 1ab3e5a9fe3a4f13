"""Items as signed HTTPS requests, by the scheme of Standard Webhooks."""

from streamer.bridges.webhook.config import Webhook
from streamer.bridges.webhook.sink import WebhookSink

__all__ = ["Webhook", "WebhookSink"]
