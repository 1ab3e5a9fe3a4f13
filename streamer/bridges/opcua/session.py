"""Sessions of clients, and who may have one: the library's, with what it leaves open closed.

asyncua 2.1 checks the certificate that `CreateSession` names, if it names one, and not the channel's; serves
a channel without security beside those that are configured; and lets a session touch what is another's. Why
something is overridden stands beside it; tests/streamer/bridges has a client for each.
"""

import math
import secrets
import time
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState
from asyncua.server.user_managers import UserManager

from streamer.bridges.opcua.config import Limits
from streamer.bridges.opcua.methods import CALLER
from streamer.bridges.opcua.people import Trusted, Users

_TO_ACTIVATE_S = 10.0
_SESSION_MS = 120_000
"""Without a word a session lives so long at most; its events wait for it meanwhile."""
_SLOWEST_MS = 60_000.0
_EVENTS_QUEUED = 1_000
_VALUES_QUEUED = 10
_UNACKNOWLEDGED = 20
_NOBODY = User(role=UserRole.Anonymous)
_OAEP = (
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep",
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256",
)


class Door(UserManager):  # type: ignore[misc]
    """Who may come in.

    Args:
        trusted: certificates; None for anybody, on loopback.
        users: with their passwords; None for nobody in particular.
    """

    def __init__(self, trusted: Trusted | None, users: Users | None) -> None:
        self._trusted, self._users = trusted, users
        self.refused = 0
        """Logins that were refused."""

    def check_certificate(self, certificate: bytes | None) -> None:
        """Raise ServiceError unless a client may come in with that certificate (DER)."""
        if self._trusted is not None and not self._trusted.knows(certificate):
            self.refused += 1
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        """The user of that name and password; None refuses. Nobody is an administrator."""
        if self._users is None:
            return User(role=UserRole.User)
        if self._users.admits(username, password):
            return User(role=UserRole.User, name=username)
        self.refused += 1
        return None


class Session(InternalSession):  # type: ignore[misc]
    """A client's session. It reads, subscribes and calls; it writes nothing and changes no node."""

    iserver: "Inner"
    user: User

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The library's tokens count up, and with one a stranger takes the session over.
        self.iserver.unregister_external_session(self)
        self.auth_token = ua.NodeId(secrets.token_bytes(32), 0, ua.NodeIdType.ByteString)
        self.iserver.register_external_session(self)
        self.born = time.monotonic()
        self._certificate: bytes | None = None

    async def create_session(
        self, params: ua.CreateSessionParameters, sockname: tuple[str, int] | None = None
    ) -> ua.CreateSessionResult:
        """Refuse whom there is no room for, or whose certificate is not trusted: no session is left."""
        try:
            await self.iserver.make_room(self)
            self.iserver.door.check_certificate(params.ClientCertificate)
            return await super().create_session(params, sockname)
        except BaseException:
            await self.close_session()
            raise

    def activate_session(
        self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None
    ) -> ua.ActivateSessionResult:
        """The certificate that counts is the channel's: the other anybody may copy, or leave out."""
        self.iserver.door.check_certificate(peer_certificate)
        if self.nonce is None:  # never created
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        before = self.user.name if self.is_activated() else None
        if self.is_activated() and peer_certificate != self._certificate:
            raise ServiceError(ua.StatusCodes.BadSecurityChecksFailed)
        again = self.is_activated()
        result = super().activate_session(params, peer_certificate)
        if again and self.user.name != before:
            self.user = User(role=UserRole.User, name=before)
            raise ServiceError(ua.StatusCodes.BadIdentityChangeNotSupported)
        self._certificate = peer_certificate
        return result

    async def close_session(self, delete_subs: bool = True) -> None:
        """With its subscriptions, whatever it says: what is left behind takes the room of others."""
        await super().close_session(True)

    async def write(self, params: ua.WriteParameters) -> Any:
        """Nothing is written from outside: the standard's own nodes have some that anybody could."""
        return [ua.StatusCode(ua.StatusCodes.BadNotWritable) for _ in params.NodesToWrite]

    async def call(self, params: list[ua.CallMethodRequest]) -> Any:
        """As the library does, with the caller's name beside it."""
        token = CALLER.set(self.user.name)
        try:
            return await super().call(params)
        finally:
            CALLER.reset(token)

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, callback: Any, request_callback: Any = None
    ) -> ua.CreateSubscriptionResult:
        """The library publishes as often as a client says, be it a thousand times a second.

        And it says that it lives as seldom as a client wants: its session must not end meanwhile.
        """
        wanted, least = params.RequestedPublishingInterval, self.iserver.limits.publish_ms
        interval = least if math.isnan(wanted) else min(max(wanted, least), _SLOWEST_MS)
        most = max(1, int(_SLOWEST_MS / interval))
        params.RequestedPublishingInterval = interval
        params.RequestedMaxKeepAliveCount = min(params.RequestedMaxKeepAliveCount or most, most)
        return await super().create_subscription(params, callback, request_callback)

    async def create_monitored_items(self, params: ua.CreateMonitoredItemsParameters) -> Any:
        """Within the limits, and only for a subscription of one's own."""
        self._check_own([params.SubscriptionId])
        subscriptions = self.iserver.subscription_service.subscriptions.values()
        there = sum(len(one.monitored_item_srv._monitored_items) for one in subscriptions)
        if there + len(params.ItemsToCreate) > self.iserver.limits.monitored_items:
            raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems)
        for item in params.ItemsToCreate:
            asked = item.RequestedParameters
            if item.ItemToMonitor.AttributeId == ua.AttributeIds.EventNotifier:
                if asked.QueueSize == 1:  # OPC 10000-4: as few as the server needs; the library keeps one
                    asked.QueueSize = _EVENTS_QUEUED
                continue
            asked.QueueSize = min(max(asked.QueueSize, 1), _VALUES_QUEUED)
        return await super().create_monitored_items(params)

    async def modify_monitored_items(self, params: ua.ModifyMonitoredItemsParameters) -> Any:
        """The library takes a queue of any length here; a client makes an item anew instead."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> Any:
        """Of a subscription of one's own."""
        self._check_own([params.SubscriptionId])
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: ua.SetMonitoringModeParameters) -> Any:
        """Of a subscription of one's own."""
        self._check_own([params.SubscriptionId])
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: ua.SetPublishingModeParameters) -> Any:
        """Of subscriptions of one's own."""
        self._check_own(params.SubscriptionIds)
        return await super().set_publishing_mode(params)

    def republish(self, params: ua.RepublishParameters) -> Any:
        """Of a subscription of one's own."""
        self._check_own([params.SubscriptionId])
        return super().republish(params)

    def publish(self, acks: Any = None) -> tuple[int, list[Any]]:
        """Acknowledge one's own: what another has not read yet must stay for it."""
        known = self.iserver.subscription_service.subscriptions
        for ack in acks or ():
            if ack.SubscriptionId in known and known[ack.SubscriptionId].session_id != self.session_id:
                ack.SubscriptionId = 0  # there is none of this number, which is what is answered
        count, results = super().publish(acks)
        return int(count), list(results)

    async def delete_subscriptions(self, ids: list[int]) -> Any:
        """One's own."""
        self._check_own(ids)
        return await super().delete_subscriptions(ids)

    async def transfer_subscriptions(  # type: ignore[override]  # the library's own differs from its base
        self, params: ua.TransferSubscriptionsParameters, callback: Any
    ) -> Any:
        """One's own, from another session of the same user and certificate."""
        for number in params.SubscriptionIds:
            self._check_same(int(number))
        return await super().transfer_subscriptions(params, callback)

    def _check_own(self, ids: list[int]) -> None:
        """Raise ServiceError where a subscription is another session's; one that there is not passes."""
        known = self.iserver.subscription_service.subscriptions
        if any(number in known and known[number].session_id != self.session_id for number in ids):
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)

    def _check_same(self, number: int) -> None:
        subscription = self.iserver.subscription_service.subscriptions.get(number)
        if subscription is None:
            return
        for other in self.iserver.sessions():
            if other.session_id == subscription.session_id:
                if (other.user.name, other._certificate) == (self.user.name, self._certificate):
                    return
                break
        raise ServiceError(ua.StatusCodes.BadUserAccessDenied)


class Inner(InternalServer):  # type: ignore[misc]
    """The library's inner server.

    Args:
        door: who may come in.
        limits: what clients may take.
    """

    def __init__(self, door: Door, limits: Limits) -> None:
        super().__init__(user_manager=door)
        self.door, self.limits = door, limits
        self.allow_remote_admin = False
        self.max_connections = limits.sessions + 8
        self.max_pending_activation_seconds = _TO_ACTIVATE_S
        self.max_session_timeout_ms = _SESSION_MS
        self.max_subscriptions = limits.subscriptions
        self.max_monitored_item_queue_size = _EVENTS_QUEUED
        self.max_unacked_messages_per_subscription = _UNACKNOWLEDGED

    def create_session(
        self,
        name: str,
        user: User = _NOBODY,
        external: bool = False,
    ) -> InternalSession:
        """A session of ours."""
        return Session(self, self.aspace, self.subscription_service, name, user=user, external=external)

    def sessions(self) -> list[Session]:
        """All that are not closed."""
        return [one for one in self._external_sessions.values() if isinstance(one, Session)]

    async def make_room(self, new: Session) -> None:
        """Raise ServiceError where too many sessions are open; those never activated end first."""
        for one in self.sessions():
            if one.state is SessionState.Created and time.monotonic() - one.born > _TO_ACTIVATE_S:
                await one.close_session()
        if len(self.sessions()) > self.limits.sessions:  # the new one among them
            raise ServiceError(ua.StatusCodes.BadTooManySessions)

    def register_server(self, server: Any, conf: Any = None) -> None:
        """This is no discovery server; the library would keep whatever anybody registers."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    def decrypt_user_token(self, isession: Any, token: ua.UserNameIdentityToken) -> tuple[str, str]:
        """Not by RSA 1.5, whose padding tells an attacker too much; the channel is encrypted anyway."""
        if token.EncryptionAlgorithm and token.EncryptionAlgorithm not in _OAEP:
            raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid)
        name, password = super().decrypt_user_token(isession, token)
        return str(name), str(password)
