"""`python -m streamer.bridges.opcua.keys`: the server's certificate, whom it trusts, and its users."""

import ipaddress
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamer.bridges.opcua.config import APPLICATION_URI
from streamer.bridges.opcua.people import MIN_PASSWORD, check_name, hash_password
from streamer.commands import Command, examples
from streamer.errors import StreamerError

_DAYS = 10 * 365


@click.command(
    cls=Command,
    epilog=examples(
        "python -m streamer.bridges.opcua.keys opcua-keys --host line-1.plant.example --user plc-1",
    ),
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--host", multiple=True, help="Name or address of this machine that clients know; again for more."
)
@click.option("--application-uri", default=APPLICATION_URI, help="opcua.application_uri.")
@click.option("--user", default=None, help="Add this user, or give them another password; it is asked for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def main(
    folder: Path, host: tuple[str, ...], application_uri: str, user: str | None, password_stdin: bool
) -> None:
    """Make what is missing in DIR: server.pem and server.key, trusted/, users.

    \b
    opcua:
      endpoint: opc.tcp://0.0.0.0:4840/musc-online
      security:
        certificate: DIR/server.pem
        key: DIR/server.key
        trusted: DIR/trusted
        users: DIR/users

    Copy each client's certificate (PEM or DER) into DIR/trusted, and server.pem to the clients. Nothing
    that is there is written over. Exit status: 0 done, 2 not.
    """
    if user is not None:
        check_name(user)
    for path in make(folder, host, application_uri):
        click.echo(f"written: {path}")
    if user is not None:
        add_user(folder / "users", user, _password(user, password_stdin))
        click.echo(f"written: {folder / 'users'} ({user})")


def make(folder: Path, hosts: tuple[str, ...] = (), application_uri: str = APPLICATION_URI) -> list[Path]:
    """The certificate with its key, the folder of trusted ones, and the file of users; those written.

    Raises:
        StreamerError: one of certificate and key is there without the other, or a file cannot be written.
    """
    certificate, key = folder / "server.pem", folder / "server.key"
    if certificate.exists() != key.exists():
        there, missing = (certificate, key) if certificate.exists() else (key, certificate)
        raise StreamerError(f"{there}: is there without {missing.name}; put that back, or move this away")
    try:
        for path in (folder, folder / "trusted"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = [] if key.exists() else _write_pair(certificate, key, hosts, application_uri)
        if not (folder / "users").exists():
            _write_new(folder / "users", b"")
            written.append(folder / "users")
    except OSError as error:
        raise StreamerError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    return written


def _write_pair(certificate: Path, key: Path, hosts: tuple[str, ...], application_uri: str) -> list[Path]:
    pair, signed = certify("musc-online", hosts or (socket.gethostname(),), application_uri)
    _write_new(key, pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _write_new(certificate, signed.public_bytes(Encoding.PEM))
    return [certificate, key]


def certify(
    name: str, hosts: tuple[str, ...], application_uri: str
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """A key and the certificate that it signs itself, as OPC 10000-4 wants it of an application.

    Args:
        name: its common name.
        hosts: names and addresses by which clients reach it.
        application_uri: which OPC UA compares with what the application says of itself.
    """
    pair = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri)]
    names += [_general_name(host) for host in hosts]
    usage = dict.fromkeys(
        ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
    )
    usage |= dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True
    )
    extended = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(who, who, pair.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(pair.public_key()), critical=False)
    )
    return pair, builder.sign(pair, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise StreamerError(f"--host: got {host!r}, expected a name or an address") from None


def add_user(path: Path, name: str, password: str) -> None:
    """Put a user into the file, in place of one of this name.

    Raises:
        StreamerError: the name or the password cannot be used.
    """
    check_name(name)
    if not MIN_PASSWORD <= len(password) <= 256:
        raise StreamerError(f"password: got {len(password)} characters, expected {MIN_PASSWORD} to 256")
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split(":")[0] != name]
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    _write_new(draft, "".join(f"{line}\n" for line in [*kept, f"{name}:{hash_password(password)}"]).encode())
    draft.replace(path)


def _password(user: str, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt(f"password of {user}", hide_input=True, confirmation_prompt=True, err=True))


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    main()
