"""The process of the page: its parts put together, its addresses told, and ended in order."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import click
import structlog

from streamer.auth import ClientKeys, client_keys
from streamer.following import logs
from streamer.following.supervised import Supervised
from streamer.notify import Notify
from streamer.page import server
from streamer.page.app import build
from streamer.page.config import PageConfig
from streamer.page.detector import Control
from streamer.page.follow import Follower
from streamer.page.hub import Hub
from streamer.page.login import Logins
from streamer.page.parts import Parts
from streamer.page.queries import Queries
from streamer.page.store import Store
from streamer.page.store_lock import StoreLock
from streamer.page.tokens import Holder, Tokens, session_secret, write_private
from streamer.printable import printable

log = structlog.get_logger()


def serve(config: PageConfig, ready_file: Path | None = None) -> None:
    """Show a detector until a signal.

    Args:
        config: the whole configuration.
        ready_file: gets `{"url", "tokens": {name: address to log in at}}` once requests are answered;
            written in one piece, for its owner only.

    Raises:
        StreamerError: a port, folder, key or certificate that cannot be used.
    """
    logs.configure(config.log.level)
    keys = client_keys(config.detector.key, config.detector.server_key)
    with ExitStack() as ending:
        notify = ending.enter_context(Notify())
        ending.callback(StoreLock(config.store.path).release)
        tokens = Tokens(config.store.path)
        bound = ending.enter_context(server.bind(config.listen))
        parts = _parts(config, keys, tokens, bound.getsockname()[1])
        ending.callback(parts.store.close)
        ending.callback(parts.follower.stop)
        parts.follower.start()
        url = server.url_of(config.listen, bound)
        supervised = Supervised(notify, parts.follower, lambda: _shown(parts.follower))

        def ready() -> None:
            _tell(tokens, url, ready_file)
            supervised.ready()

        told = server.Told(ready, supervised.turn, supervised.stopping)
        server.run(build(parts), config.listen, bound, told)
    log.info("ended")


def _parts(config: PageConfig, keys: ClientKeys | None, tokens: Tokens, port: int) -> Parts:
    store = Store(
        config.store.path,
        days=config.store.days,
        max_bytes=config.store.max_bytes,
        alarm_cooldown_s=config.alarms.cooldown_s,
    )
    hub = Hub()
    follower = Follower(store, hub, config.detector, keys)
    logins = Logins(
        tokens,
        session_secret(config.store.path),
        hours=config.login.hours,
        port=port,
        secure=config.listen.tls_cert is not None,
        proxies=config.listen.proxies,
    )
    control = Control(config.detector.control, keys, follower.detector)
    return Parts(config, logins, store, Queries(store), hub, follower, control)


def _shown(follower: Follower) -> str:
    """How the page is, for its supervisor."""
    return f"the detector is {'heard' if follower.is_up else 'not heard'}"


def login_url(url: str, holder: Holder) -> str:
    """Where a token's holder logs in; the token leaves the address bar at once."""
    return f"{url}/login?token={holder.token}"


def _tell(tokens: Tokens, url: str, ready_file: Path | None) -> None:
    """Tokens are shown at the first start and on terminals: what a supervisor keeps is no place for them."""
    holders = tokens.holders()
    log.info("ready", url=url)
    admin = next((holder for holder in holders if holder.role == "admin"), None)
    if admin is not None and (tokens.new or sys.stdout.isatty()):
        click.echo(f"open this address to log in as {admin.name}: it holds the token, so keep it to yourself")
        click.echo(login_url(url, admin))
    click.echo(f"everybody's tokens: {printable(tokens.path)}")
    sys.stdout.flush()
    if ready_file is not None:
        ready = {"url": url, "tokens": {holder.name: login_url(url, holder) for holder in holders}}
        write_private(ready_file, json.dumps(ready).encode())
