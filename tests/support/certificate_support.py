"""Certificates of an authority, a server and a client, as files."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """Of an authority, a server called `broker.test`, and a client."""

    ca: Path
    server_cert: Path
    server_key: Path
    cert: Path
    key: Path


def certificates(folder: Path, server: str = "broker.test") -> Certificates:
    """Made anew in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    root_key, root = _certificate("authority", None, None)
    paths = [_written(folder / "ca.pem", root)]
    for name, host in (("server", server), ("client", None)):
        key, cert = _certificate(name, (root_key, root), host)
        paths += [_written(folder / f"{name}.pem", cert), _written(folder / f"{name}.key", key)]
    return Certificates(*paths)


def _certificate(name: str, by: Any, host: str | None) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issuer = (key, subject) if by is None else (by[0], by[1].subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return key, builder.sign(signer, hashes.SHA256())


def _written(path: Path, what: Any) -> Path:
    if isinstance(what, x509.Certificate):
        path.write_bytes(what.public_bytes(Encoding.PEM))
    else:
        path.write_bytes(what.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
    return path
