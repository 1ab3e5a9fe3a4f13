"""Addresses and secrets: what is wrong with one is told without showing it."""

import os
from pathlib import Path

import pytest
import yaml
from posting_support import receiver, section
from pydantic import ValidationError
from webhook_support import SECRET

from musc_online.config_errors import one_line
from streamer.bridges import config
from streamer.bridges.webhook import Webhook, WebhookSink
from streamer.bridges.webhook.secrets import signers
from streamer.errors import StreamerError

__all__ = ["receiver"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://plant.example/x?token=hidden", "http:// to another machine"),
        ("https://name:hidden@plant.example/", "holds a name or password"),
        ("https://plant.example/\x00hidden", "holds a character"),
        ("https://plant.example:99999/hidden", "no port or host"),
        ("https:///hidden", "is no address"),
        ("ftp://plant.example/hidden", "is no address"),
        ("hidden", "is no address"),
        ("https://plant.example/#hidden", "behind '#'"),
        ("https://plant.example/" + "hidden" * 1000, "longer than any address"),
        ("https://plant.example/$NOT_THERE_AT_ALL?token=hidden", "no variable 'NOT_THERE_AT_ALL'"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(tmp_path, url, reason):
    with pytest.raises(ValidationError) as error:
        section(tmp_path, url)
    line = one_line(error.value, Webhook)
    assert reason in line
    assert "hidden" not in line


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://plant.example/hidden", "expected keys, such as url:"),
        (["https://plant.example/hidden"], "expected keys, such as url:"),
        ({"https://plant.example/hidden": None}, "where a key is expected"),
        ({"whsec_hidden": None}, "where a key is expected"),
        ({"url": ["https://plant.example/hidden"]}, "url: is no text"),
        ({"url": {"https": "hidden"}}, "url: is no text"),
        ({"url": "https://plant.example/", "proxy": ["hidden"]}, "proxy: is no text"),
        ({"url": "https://plant.example/", "secret_files": [["whsec_hidden"]]}, "holds a secret itself"),
        ({"url": "https://plant.example/", "secret_files": {"a": "whsec_hidden"}}, "holds a secret itself"),
        ({"uri": "https://plant.example/hidden"}, "unknown key 'webhook.uri'; did you mean 'url'"),
    ],
)
def test_a_section_of_another_form_is_refused_without_being_shown(tmp_path, given, reason):
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({"queue": {"path": "q"}, "webhook": given}), encoding="utf-8")
    with pytest.raises(StreamerError) as error:
        config.load("webhook", path)
    assert reason in str(error.value)
    assert "hidden" not in str(error.value)


def test_plain_http_goes_to_this_machine_and_farther_only_if_said(tmp_path):
    for url in ("http://localhost:1/", "http://127.0.0.2/", "http://[::1]:8080/x"):
        section(tmp_path, url)
    section(tmp_path, "http://plant.example/", insecure=True)


def test_an_address_can_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "https://plant.example/secret")
    assert section(tmp_path, "$HOOK").url == "https://plant.example/secret"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("hidden", "does not begin with whsec_"),
        ("whsec_hid=den", "no base64"),
        ("whsec_hidden\u00e9", "not ASCII"),
        ("whsec_hiddenhidden", "9 bytes, expected 24 to 64"),
        ("whsec_" + "hidden" * 20, "90 bytes, expected 24 to 64"),
        (f"{SECRET}\nwhsec_hidden", "secret 2"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(tmp_path, text, reason):
    path = tmp_path / "webhook.secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(StreamerError) as error:
        signers(section(tmp_path, "https://plant.example/", secret_files=(path,)))
    assert reason in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path):
    given = section(tmp_path, "https://plant.example/")
    for mode in (0o644, 0o640, 0o620, 0o604):
        given.secret_files[0].chmod(mode)
        with pytest.raises(StreamerError, match=rf"mode {mode:04o}\); chmod 600"):
            signers(given)
    given.secret_files[0].unlink()
    with pytest.raises(StreamerError, match="cannot be read"):
        signers(given)
    os.mkfifo(given.secret_files[0])
    with pytest.raises(StreamerError, match="no file of secrets"):
        signers(given)


@pytest.mark.parametrize("secret", ["hidden", "hidden" * 50, "hidden/hidden="])
@pytest.mark.parametrize("key", ["secret_files", "client_key"])
def test_a_secret_without_its_prefix_in_place_of_its_file_is_not_shown(tmp_path, key, secret):
    cert = tmp_path / "cert.pem"
    cert.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    given = {"secret_files": (Path(secret),)} if key == "secret_files" else {"client_key": Path(secret)}
    with pytest.raises(StreamerError, match=f"webhook.{key}: the file .* cannot be read") as error:
        WebhookSink(
            section(
                tmp_path, "https://plant.example/", client_cert=cert if key == "client_key" else None, **given
            ),
            tmp_path,
        )
    assert secret not in str(error.value)


def test_a_variable_that_is_not_there_is_named(tmp_path):
    given = Webhook(url="https://plant.example/", secret_variables=("NOT_THERE_AT_ALL",))
    with pytest.raises(StreamerError, match="NOT_THERE_AT_ALL"):
        signers(given)


def test_a_certificate_that_is_none_is_told_at_once(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n", encoding="ascii")
    for path, reason in (
        (broken, "no certificate that can be read"),
        (tmp_path / "none.pem", "cannot be read"),
    ):
        with pytest.raises(StreamerError, match=reason):
            WebhookSink(section(tmp_path, "https://plant.example/", ca_file=path), tmp_path)


@pytest.mark.parametrize("key", ["secret_files", "secret_variables"])
@pytest.mark.parametrize("value", ["whsec_hidden", ["x", " whsec_hidden"]])
def test_a_secret_that_stands_in_the_configuration_is_refused_without_being_shown(key, value):
    with pytest.raises(ValidationError) as error:
        Webhook(**{"url": "https://plant.example/", key: value})
    line = one_line(error.value, Webhook)
    assert "holds a secret itself" in line
    assert "hidden" not in line
