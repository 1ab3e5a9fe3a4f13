"""The section `opcua`: what is wrong with it is one line that names the key, and shows no secret."""

from pathlib import Path

import pytest
import yaml

from streamer.bridges import config
from streamer.bridges.opcua import keys
from streamer.bridges.opcua.config import Commands, Keep, Limits, Names, OpcuaSection, Security
from streamer.bridges.opcua.people import Users
from streamer.bridges.opcua.sink import read_own
from streamer.errors import StreamerError

SECRET = "hunter2-very-secret"  # noqa: S105
FILES = {"certificate": "server.pem", "key": "server.key", "trusted": "trusted", "users": "users"}


def load(folder, section):
    file = folder / "bridge.yaml"
    file.write_text(yaml.safe_dump({"queue": {"path": str(folder / "queue")}, "opcua": section}))
    return config.load("opcua", file).section


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"endpoint": "opc.tcp://0.0.0.0:4840/x"}, "open to the network without encryption"),
        ({"endpoint": "opc.tcp://plc.example:4840/x"}, "open to the network without encryption"),
        ({"endpoint": "http://127.0.0.1:4840"}, "expected opc.tcp://HOST:PORT/NAME"),
        ({"endpoint": "opc.tcp://127.0.0.1"}, "expected opc.tcp://HOST:PORT/NAME"),
        ({"endpoint": f"opc.tcp://me:{SECRET}@127.0.0.1:4840"}, "expected opc.tcp://HOST:PORT/NAME"),
        ({"endpoint": [f"opc.tcp://me:{SECRET}@127.0.0.1"]}, "expected opc.tcp://HOST:PORT/NAME"),
        (f"opc.tcp://me:{SECRET}@127.0.0.1:4840", "opcua: expected keys"),
        ({"endpoint": "opc.tcp://127.0.0.1:99999"}, "expected opc.tcp://HOST:PORT/NAME"),
        ({"commands": {"allow": ["reset"]}}, "allow"),
        ({"commands": {"users": ["anna"]}}, "without security nobody has one"),
        ({"security": {"certificate": "x"}}, "key"),
        ({"security": SECRET}, "opcua.security: expected keys"),
        ({"security": FILES | {"users": [f"plc-1:{SECRET}"]}}, "security.users: expected the path"),
        ({"security": FILES | {"users": {"plc-1": SECRET}}}, "security.users: expected the path"),
        ({"security": FILES | {"users": f"${SECRET}"}}, "security.users: names a variable"),
        ({"security": FILES | {"key": f"-----BEGIN\n{SECRET}"}}, "security.key: expected the path"),
        ({"security": FILES | {"password": SECRET}}, "unknown key 'opcua.security.password'"),
        ({"keep": {"results": 0}}, "results"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(tmp_path, section, said):
    with pytest.raises(StreamerError, match=said) as told:
        load(tmp_path, section)
    assert SECRET not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "secret", [SECRET, SECRET * 20, f"/{SECRET}", f"{SECRET}/{SECRET}", f"/{SECRET}/{SECRET}="]
)
def test_a_secret_in_place_of_its_file_is_not_shown(tmp_path, secret):
    keys.make(tmp_path, ("127.0.0.1",))
    files = {name: str(tmp_path / file) for name, file in FILES.items()}
    with pytest.raises(StreamerError, match="its name may be a secret itself") as users:
        Users(load(tmp_path, {"security": files | {"users": secret}}).security.users)
    with pytest.raises(StreamerError, match="its name may be a secret itself") as key:
        read_own(load(tmp_path, {"security": files | {"key": secret}}).security)
    assert SECRET not in f"{users.value}{key.value}"


def test_a_file_that_is_not_there_in_a_folder_that_is_there_is_named(tmp_path):
    with pytest.raises(StreamerError, match="none cannot be read") as users:
        Users(tmp_path / "none")
    assert str(tmp_path / "none") in str(users.value)


@pytest.mark.parametrize("section", [OpcuaSection, Security, Names, Keep, Commands, Limits])
def test_every_key_stands_on_the_page(section):
    page = (Path(__file__).parents[3] / "docs" / "bridges-opcua.md").read_text()
    for name in section.model_fields:
        assert f".{name}`" in page or f"`{name}" in page or f" {name}: " in page, name
