"""Certificate, trusted clients and users: made by one command, and refused where they cannot be used."""

import io
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from streamer.bridges import config
from streamer.bridges.opcua import keys
from streamer.bridges.opcua.config import Security
from streamer.bridges.opcua.people import Trusted, Users, read_certificate
from streamer.bridges.opcua.sink import read_own
from streamer.errors import StreamerError

GOOD = "a password that will do"


def command(monkeypatch, *arguments, typed=""):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return keys.main.main([str(one) for one in arguments], standalone_mode=False)


def section(folder):
    return Security(
        certificate=folder / "server.pem",
        key=folder / "server.key",
        trusted=folder / "trusted",
        users=folder / "users",
    )


def test_one_command_makes_what_the_server_needs_and_writes_nothing_over(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "keys"
    arguments = (folder, "--host", "line-1.plant.example", "--user", "plc-1", "--password-stdin")
    assert command(monkeypatch, *arguments, typed=f"{GOOD}\n") == 0
    certificate, key = read_own(section(folder))
    assert key.public_key() == certificate.public_key()
    assert Users(folder / "users").admits("plc-1", GOOD)
    assert not Users(folder / "users").admits("plc-1", f"{GOOD}\n")
    assert GOOD not in (folder / "users").read_text() + capsys.readouterr().out
    for path in (folder / "server.key", folder / "users"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = (folder / "server.pem").read_bytes()
    assert command(monkeypatch, folder, "--user", "plc-2", "--password-stdin", typed=f"{GOOD}2\n") == 0
    assert (folder / "server.pem").read_bytes() == before
    users = Users(folder / "users")
    assert users.admits("plc-1", GOOD)
    assert users.admits("plc-2", f"{GOOD}2")
    assert not users.admits("plc-2", GOOD)


@pytest.mark.parametrize(
    ("user", "typed", "said"),
    [
        ("a:b", GOOD, "user: got 'a:b', expected up to 64"),
        ("plc", "short", "password: got 5 characters, expected 12 to 256"),
        ("plc", "", "password: got 0 characters"),
    ],
)
def test_a_name_or_a_password_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, user, typed, said):
    arguments = (tmp_path / "keys", "--user", user, "--password-stdin")
    assert command(monkeypatch, *arguments, typed=typed) == 2
    assert said in capsys.readouterr().err


def test_a_certificate_without_its_key_is_not_made_up_for(tmp_path, monkeypatch, capsys):
    keys.make(tmp_path)
    (tmp_path / "server.key").unlink()
    assert command(monkeypatch, tmp_path) == 2
    assert "is there without server.key" in capsys.readouterr().err


def test_what_the_server_cannot_use_is_told_before_it_starts(tmp_path):
    keys.make(tmp_path)
    keys.make(tmp_path / "other")
    mixed = section(tmp_path).model_copy(update={"key": tmp_path / "other" / "server.key"})
    with pytest.raises(StreamerError, match=r"security.key: .*is not that of"):
        read_own(mixed)
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(StreamerError, match="can be read by others; chmod 600"):
        read_own(section(tmp_path))
    with pytest.raises(StreamerError, match=r"security.certificate: .*server.key is no certificate"):
        read_own(section(tmp_path).model_copy(update={"certificate": tmp_path / "server.key"}))


def test_a_folder_or_a_file_of_users_that_cannot_be_used_is_told(tmp_path):
    with pytest.raises(StreamerError, match=r"security.trusted: .*cannot be read"):
        Trusted(tmp_path / "none")
    (tmp_path / "plc.pem").write_text("no certificate")
    with pytest.raises(StreamerError, match=r"security.trusted: .*plc.pem is no certificate"):
        Trusted(tmp_path)
    users = tmp_path / "users"
    with pytest.raises(StreamerError, match=r"security.users: .*cannot be read"):
        Users(users)
    users.write_text("plc-1:plain\n")
    users.chmod(0o600)
    with pytest.raises(StreamerError, match="entry 1 is no NAME:HASH") as told:
        Users(users)
    assert "plain" not in str(told.value)
    users.chmod(0o640)
    with pytest.raises(StreamerError, match="can be read by others"):
        Users(users)


def test_an_expired_certificate_is_trusted_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "_DAYS", 0)
    _, certificate = keys.certify("old", (), "urn:test:old")
    der = certificate.public_bytes(Encoding.DER)
    (tmp_path / "old.der").write_bytes(der)
    assert read_certificate(tmp_path / "old.der") == certificate
    assert not Trusted(tmp_path).knows(der)


def test_the_configuration_that_is_shipped_is_one():
    shipped = Path(__file__).resolve().parents[3] / "configs" / "bridge-opcua.yaml"
    loaded = config.load("opcua", shipped)
    assert loaded.section.address == ("127.0.0.1", 4840)
    assert loaded.section.commands.allow == ()
