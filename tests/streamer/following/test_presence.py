"""Which streams a bridge and the page know of, however many names come."""

import pytest
from store_support import message, verdict

from streamer.following.presence import Presence
from streamer.following.recent import MOST, Recent
from streamer.page.health import Health

MANY = 3 * MOST


def hear(remembers, *messages):
    for one in messages:
        remembers.heard(one, live=True)


@pytest.fixture(params=[Presence, Health])
def remembers(request):
    return request.param()


def test_cameras_of_ever_new_names_hide_no_stream(remembers):
    """A word on a camera needs no frame, so that any publisher may name as many as it likes."""
    hear(remembers, verdict("a", stream="early"))
    hear(remembers, *(message("source", stream=f"ghost-{n}", state="ended", since_ns=1) for n in range(MANY)))
    hear(remembers, verdict("a", stream="real"), message("status", stream="new", state="warmup"))
    assert {"early", "real", "new"} <= set(remembers.streams())
    assert len(remembers.streams()) <= MOST


def test_streams_of_bad_frames_hide_none_whose_frames_are_scored():
    presence = Presence()
    hear(presence, message("status", stream="early", picture={"of": "alarms"}))
    hear(presence, *(message("error", stream=f"evil-{n}", code="undecodable", text="") for n in range(MANY)))
    hear(presence, verdict("a", stream="real"))
    assert {"early", "real", f"evil-{MANY - 1}"} <= set(presence.streams())
    assert len(presence.streams()) == MOST
    assert presence.pictures_of("early") == "alarms"
    assert presence.pictures_of(f"evil-{MANY - 1}") is None


def test_of_many_streams_those_heard_of_longest_ago_give_way(remembers):
    hear(remembers, *(message("status", stream=f"line-{n}", state="ready") for n in range(MOST)))
    hear(remembers, message("status", stream="line-0", state="ready"))
    hear(remembers, message("status", stream="new", state="warmup"))
    names = remembers.streams()
    assert len(names) == MOST
    assert {"line-0", "new"} <= set(names)
    assert "line-1" not in names
    hear(remembers, message("source", stream="camera", state="live", since_ns=1))
    assert set(remembers.streams()) == set(names), "a camera takes the place of no stream"


def test_a_bridge_asks_the_history_of_no_camera_without_a_frame():
    presence = Presence()
    hear(presence, message("source", stream="camera", state="waiting", since_ns=1))
    assert presence.streams() == []
    assert presence.is_up


def test_what_is_known_of_a_name_stays_with_it_when_it_becomes_sure():
    recent = Recent(2)
    assert recent.heard("a", list, sure=False) is recent.heard("a", list, sure=True)
    assert recent.heard("b", list, sure=True) == []
    assert recent.heard("c", list, sure=False) is None
    assert [*recent] == ["a", "b"]
    recent.forget("a")
    assert (recent.get("a"), recent.heard("c", list, sure=False), [*recent]) == (None, [], ["b", "c"])
