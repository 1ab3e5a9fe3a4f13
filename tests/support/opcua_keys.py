"""Keys of an OPC UA server and of clients that it trusts or does not, and a client that comes with one."""

from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opcua_support import Served

from streamer.bridges.opcua import keys

WORDS = "correct horse battery"
CLIENT_URI = "urn:test:plc"


def make_keys(made: Path) -> Path:
    """Keys of the server, of a client that it trusts, and of one that it does not."""
    keys.make(made, ("127.0.0.1",))
    keys.add_user(made / "users", "plc-1", WORDS)
    keys.add_user(made / "users", "plc-2", WORDS)
    for name in ("plc", "stranger"):
        pair, certificate = keys.certify(name, ("127.0.0.1",), CLIENT_URI)
        (made / f"{name}.key.pem").write_bytes(
            pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (made / f"{name}.der").write_bytes(certificate.public_bytes(Encoding.DER))
    (made / "trusted" / "plc.der").write_bytes((made / "plc.der").read_bytes())
    return made


def security(folder: Path) -> dict[str, str]:
    """Of the section."""
    files = {"certificate": "server.pem", "key": "server.key", "trusted": "trusted", "users": "users"}
    return {name: str(folder / file) for name, file in files.items()}


async def secured(
    served: Served,
    folder: Path,
    name: str = "plc",
    user: str | None = "plc-1",
    password: str = WORDS,
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt,
) -> Client:
    opc = Client(served.endpoint)
    opc.application_uri = CLIENT_URI
    opc.session_timeout = 60_000
    await opc.set_security(
        SecurityPolicyBasic256Sha256,
        str(folder / f"{name}.der"),
        str(folder / f"{name}.key.pem"),
        server_certificate=str(folder / "server.pem"),
        mode=mode,
    )
    if user is not None:
        opc.set_user(user)
        opc.set_password(password)
    return opc
