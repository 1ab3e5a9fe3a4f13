import ssl
from pathlib import Path

import pytest
import yaml
from certificate_support import certificates

from streamer.bridges import config
from streamer.bridges.mqtt import tls
from streamer.bridges.mqtt.config import Commands, HomeAssistant, Mqtt, Tls
from streamer.errors import StreamerError

SECRET = "hunter2-very-secret"  # noqa: S105


def loaded(folder: Path, **section):
    file = folder / "bridge.yaml"
    file.write_text(yaml.safe_dump({"queue": {"path": str(folder / "queue")}, "mqtt": section}))
    return config.load("mqtt", file)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"address": "broker.plant:1883"}, "in plaintext; set tls"),
        ({"address": "mqtt://127.0.0.1:1883"}, "expected HOST:PORT.*no scheme"),
        ({"address": f"me:{SECRET}@127.0.0.1:1883"}, "the user is username and password_file"),
        ({"address": "127.0.0.1"}, "expected HOST:PORT"),
        ({"address": "127.0.0.1:0"}, "expected HOST:PORT"),
        ({"address": "::1:1883"}, "in brackets"),
        ({"tls": {}, "plaintext": True}, "expected one of the two"),
        ({"tls": {"cert": "a.pem"}}, "cert and key go together"),
        ({"version": 4}, "version"),
        ({"password_file": "p"}, "username: missing"),
        ({"username": "u", "password_file": "p", "password_env": "P"}, "expected one of the two"),
        ({"password": SECRET}, "password"),
        ({"prefix": "a/+/b"}, "without \\+ and #"),
        ({"prefix": "$SYS"}, "the first without \\$"),
        ({"prefix": ""}, "prefix"),
        ({"home_assistant": {"enabled": True, "prefix": "#"}}, "prefix"),
        ({"commands": {"allow": ["shutdown"]}}, "allow"),
        ({"commands": {"max_bytes": 10**9}}, "max_bytes"),
        ({"commands": {"who": "a\nb"}}, "printable"),
        ({"commands": {"answer_prefixes": ["#"]}}, "answer_prefixes"),
        ({"client_id": "a\0"}, "printable"),
        ({"keepalive_s": 1}, "keepalive_s"),
        ({"in_flight": 0}, "in_flight"),
        ({"no_such_key": 1}, "no_such_key"),
        ({"tls": {"cafile": "a.pem"}}, r"unknown key 'mqtt.tls.cafile'; .*allowed here: ca, cert"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(tmp_path, section, said):
    with pytest.raises(StreamerError, match=said) as raised:
        loaded(tmp_path, **section)
    assert "\n" not in str(raised.value)


MISTAKEN = [
    f"mqtt://me:{SECRET}@127.0.0.1:1883",
    [SECRET],
    {f"me:{SECRET}@127.0.0.1": 1883},
    {"password": SECRET},
    {"address": f"mqtt://me:{SECRET}@127.0.0.1:1883"},
    {"address": f"me:{SECRET}@127.0.0.1:1883"},
    {"address": f"me:{SECRET}:127.0.0.1:1883"},
    {"address": f"mqtt://me:{SECRET}:127.0.0.1:1883"},
    {"address": f"me:{SECRET}/{SECRET}:127.0.0.1:1883"},
    {"address": f"{SECRET}/127.0.0.1:1883"},
    {"address": f"[me:{SECRET}]:1883"},
    {"address": [f"me:{SECRET}@127.0.0.1:1883"]},
    {"username": ["me", SECRET]},
    *(
        {"username": "me", key: given}
        for key in ("password_file", "password_env")
        for given in (
            SECRET,
            SECRET * 20,
            f"{SECRET}/{SECRET}",
            f"${SECRET}",
            f"~{SECRET}",
            [SECRET],
            {"me": SECRET},
            f"a\n{SECRET}",
        )
    ),
    {"tls": SECRET},
    {"tls": {"cert": "a.pem", "key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}},
    {"tls": {"cert": "a.pem", "key": SECRET}},
    {"tls": {"cert": "a.pem", "key": SECRET * 20}},
]


def used(file):
    """As at the start of the bridge."""
    section = config.load("mqtt", file).section
    section.password()
    tls.context(section.tls)


@pytest.mark.parametrize("section", MISTAKEN)
def test_a_secret_that_stands_where_none_belongs_is_not_shown(tmp_path, section):
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump({"queue": {"path": str(tmp_path / "queue")}, "mqtt": section}))
    with pytest.raises(StreamerError, match="mqtt") as raised:
        used(file)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_version_may_be_written_as_yaml_reads_it(tmp_path):
    assert loaded(tmp_path, version=5).section.version == "5"
    assert loaded(tmp_path, version="3.1.1").section.version == "3.1.1"
    assert loaded(tmp_path).section.address == "127.0.0.1:1883"


def test_a_broker_elsewhere_wants_tls_or_a_word(tmp_path):
    assert loaded(tmp_path, address="broker.plant:8883", tls={}).section.host == "broker.plant"
    assert loaded(tmp_path, address="10.0.0.7:1883", plaintext=True).section.port == 1883
    assert loaded(tmp_path, address="[::1]:1883").section.host == "::1"


def test_a_password_comes_from_a_file_that_only_its_owner_reads(tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    section = Mqtt(username="u", password_file=file)
    file.chmod(0o644)
    with pytest.raises(StreamerError, match="chmod 600") as raised:
        section.password()
    file.chmod(0o600)
    assert section.password() == SECRET
    file.write_text(f"{SECRET}\nand more\n")
    with pytest.raises(StreamerError, match="holds no password, expected one line") as many:
        section.password()
    assert SECRET not in f"{raised.value}{many.value}{section}"
    file.unlink()
    with pytest.raises(StreamerError, match="cannot be read"):
        section.password()


def test_a_password_comes_from_the_environment(monkeypatch):
    section = Mqtt(username="u", password_env="MUSC_TEST_PASSWORD")  # noqa: S106
    monkeypatch.delenv("MUSC_TEST_PASSWORD", raising=False)
    with pytest.raises(StreamerError, match="the environment has no variable of that name"):
        section.password()
    monkeypatch.setenv("MUSC_TEST_PASSWORD", SECRET)
    assert section.password() == SECRET


def test_what_is_wrong_with_tls_files_is_told(tmp_path):
    made = certificates(tmp_path)
    assert tls.context(Tls(ca=made.ca, cert=made.cert, key=made.key)).check_hostname
    assert tls.context(Tls(ca=made.ca, server_name="x")).verify_mode == ssl.CERT_REQUIRED
    with pytest.raises(StreamerError, match=r"mqtt\.tls\.ca"):
        tls.context(Tls(ca=tmp_path / "none.pem"))
    with pytest.raises(StreamerError, match=r"mqtt\.tls\.cert"):
        tls.context(Tls(ca=made.ca, cert=made.cert, key=made.ca))


@pytest.mark.parametrize("section", [Mqtt, Tls, Commands, HomeAssistant])
def test_every_key_stands_on_the_page(section):
    page = (Path(__file__).parents[4] / "docs" / "bridges-mqtt.md").read_text()
    for name in section.model_fields:
        assert f"`{name}`" in page, name


def test_the_example_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[4]
    example = config.load("mqtt", root / "configs" / "bridge-mqtt.yaml")
    assert example.section.commands.allow == ()
    assert not list(tmp_path.iterdir())
