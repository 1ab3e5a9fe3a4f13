"""A bridge's configuration: what is wrong is one line with key, value and what was expected."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from streamer.bridge import main
from streamer.bridges import config, registry
from streamer.bridges.queue import Queue
from streamer.bridges.registry import Bridge
from streamer.errors import StreamerError
from streamer.folder_lock import FolderLock

NAME = "tcp_bridge"


def written(tmp_path, text):
    path = tmp_path / "bridge.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, text, name=NAME):
    return config.load(name, written(tmp_path, text))


def test_what_is_not_said_has_its_default(tmp_path):
    loaded = read(tmp_path, "queue: {path: q}\ntcp_bridge: {port: 7}\n")
    assert (loaded.name, loaded.section.port) == (NAME, 7)
    common = loaded.common
    assert (common.queue.max_items, common.queue.max_bytes, common.queue.when_full) == (
        10**6,
        10**9,
        "drop_oldest",
    )
    assert (common.retry.first_s, common.retry.longest_s) == (0.5, 60)
    tell = common.tell
    assert (tell.streams, tell.revisions, tell.finals, tell.pictures) == (None, "changed", True, False)
    assert (loaded.maps, loaded.pictures) == (False, False)


def test_sections_of_other_bridges_may_stand_in_the_same_file(tmp_path):
    loaded = read(tmp_path, "queue: {path: q}\nmqtt: {whatever: 1}\ntcp_bridge: {port: 7}\n")
    assert loaded.section.port == 7


def test_a_bridge_may_need_maps_or_pictures_by_itself(tmp_path, monkeypatch):
    made = registry.load(NAME)
    needing = Bridge(made.section, made.make, lambda section: frozenset({"pictures"} if section.port else ()))
    monkeypatch.setattr("tcp_bridge.BRIDGE", needing)
    loaded = read(tmp_path, "queue: {path: q}\ntcp_bridge: {port: 7}\n")
    assert (loaded.maps, loaded.pictures) == (False, True)
    loaded = read(tmp_path, "queue: {path: q}\ntell: {maps: true}\ntcp_bridge: {port: 0}\n")
    assert (loaded.maps, loaded.pictures) == (True, False)


QUEUE = "queue: {path: q}\n"
OWN = f"{QUEUE}tcp_bridge: {{port: 7}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tcp_bridge: {port: 7}", "queue: .*field required"),
        (QUEUE, "tcp_bridge.port: .*field required"),
        (f"{QUEUE}tcp_bridge: {{port: x}}", "tcp_bridge.port: got 'x', .*integer"),
        (f"{QUEUE}tcp_bridge: {{port: 7, prot: 7}}", "unknown key 'tcp_bridge.prot'; did you mean 'port'"),
        (f"{OWN}tel: {{}}", "unknown key 'tel'; did you mean 'tell'"),
        (f"{OWN}tell: {{revisions: some}}", "tell.revisions: got 'some', .*'changed', 'all' or 'none'"),
        (f"{OWN}tell: {{streams: [a/b]}}", "tell.streams: .*got 'a/b', expected 1 to 128 bytes"),
        (f"{OWN}tell: {{finals: 3}}", "tell.finals: got 3"),
        (f"{OWN}retry: {{first_s: 5, longest_s: 2}}", r"first_s: got 5, expected at most longest_s \(2\)"),
        (f"{OWN}retry: {{first_s: .nan}}", "retry.first_s: got nan"),
        (f"{OWN}status: {{endpoint: '9465'}}", "endpoint: got '9465', expected host:port"),
        (f"{OWN}status: {{endpoint: '0.0.0.0:9465'}}", "open to the network in plaintext; set status"),
        (f"{OWN}detector: {{scores: 'tcp://me:x@h:1'}}", "detector.scores: expected e.g. tcp://127.0.0.1:5555"),
        (f"{OWN}detector: {{control: 'tcp://me:x:h:1'}}", "detector.control: expected e.g. tcp://127.0.0.1"),
        (f"{OWN}detector: {{scores: 'tcp://a:1;me:x:h:1'}}", "detector.scores: expected e.g. tcp://127.0.0"),
        (f"{OWN}detector: {{key: a.key_secret}}", "key and server_key go together"),
        ("queue: {path: q, max_items: 3}\ntcp_bridge: {port: 7}", "queue.max_items: got 3, .*greater than"),
        ("queue: {path: q, when_full: block}\ntcp_bridge: {port: 7}", "queue.when_full: got 'block'"),
        ("queue: [1]\ntcp_bridge: {port: 7}", "queue: got .*expected|queue: .*valid"),
        ("queue: {path: a}\nqueue: {path: b}", "key 'queue' stands twice"),
        ("- 1", "got a list, expected keys"),
        ("{", "is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_key_and_value(tmp_path, text, line):
    with pytest.raises(StreamerError, match=line):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "endpoint",
    ["ipc://@name", "ipc:///run/a:b:c@d", "tcp://[::1]:5555", "tcp://[fe80::1%eth0]:1", "tcp://::1:5555",
     "tcp://10.0.0.1:0;[::1]:5555", "tcp://detector.plant:5555"],
)  # fmt: skip
def test_an_endpoint_with_colons_or_an_at_sign_need_not_have_a_user(tmp_path, endpoint):
    assert read(tmp_path, f"{OWN}detector: {{scores: '{endpoint}'}}").common.detector.scores == endpoint


@pytest.mark.parametrize("name", ["nothing_here", "json", "", ".x", "os.path.no", "streamer.bridges"])
def test_a_name_that_is_no_bridge_is_told(tmp_path, name):
    with pytest.raises(
        StreamerError, match="expected one of mqtt, webhook, files, opcua, or a Python module"
    ):
        read(tmp_path, OWN, name)


@pytest.mark.parametrize("name", ["webhook", "files"])
def test_the_configuration_that_is_shipped_loads(name):
    shipped = Path(__file__).parents[3] / "configs" / f"bridge-{name}.yaml"
    assert config.load(name, shipped).common.queue.path.name == f"bridge-{name}"


def test_a_bridge_must_not_be_named_as_a_section_that_all_have(tmp_path, monkeypatch):
    (tmp_path / "plant_bridges").mkdir()
    (tmp_path / "plant_bridges" / "log.py").write_text("from tcp_bridge import BRIDGE\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StreamerError, match=r"'plant_bridges\.log', whose section 'log' all bridges have"):
        read(tmp_path, OWN, "plant_bridges.log")


def test_a_bridge_whose_library_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_library\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StreamerError, match=r"^needs_more: no_such_library is not installed$"):
        registry.load("needs_more")
    monkeypatch.setitem(registry.KNOWN, "mqtt", "needs_more")
    with pytest.raises(StreamerError, match=r"pip install 'musc-online\[mqtt\]'"):
        registry.load("mqtt")


def run(tmp_path, text, *options):
    return CliRunner().invoke(main, [NAME, "--config", str(written(tmp_path, text)), *options])


def test_what_the_user_can_mend_ends_with_two_and_one_line(tmp_path):
    text = f"queue: {{path: {tmp_path}/q}}\ntcp_bridge: {{port: 7}}\n"
    lock = FolderLock(tmp_path / "q", "queue.path", "bridge")
    taken = run(tmp_path, text)
    lock.release()
    assert taken.exit_code == 2
    assert "is in use by another bridge" in taken.output
    Queue(tmp_path / "q", "other", max_items=1000, max_bytes=10**6).close()
    assert "is the queue of the bridge 'other'" in run(tmp_path, text).output
    missing = CliRunner().invoke(main, [NAME, "--config", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 2
    assert "none.yaml: cannot be read" in missing.output
    assert CliRunner().invoke(main, [NAME]).exit_code == 2


@pytest.mark.parametrize("option", ["--dead", "--redeliver"])
def test_letters_of_a_bridge_that_never_ran_are_none(tmp_path, option):
    ended = run(tmp_path, f"queue: {{path: {tmp_path}/q}}\ntcp_bridge: {{port: 7}}\n", option)
    assert ended.exit_code == 2
    assert "is not there; has the bridge run" in ended.output
