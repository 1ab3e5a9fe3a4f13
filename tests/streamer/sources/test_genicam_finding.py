"""Which of the cameras that Aravis sees a name means."""

import pytest

from streamer.errors import StreamerError
from streamer.sources import SourceLost
from streamer.sources.genicam.aravis import Found
from streamer.sources.genicam.finding import meant

LEFT = Found("Maker-1", "1", "10.0.0.1", "00:30:53:00:00:01", "Scout")
RIGHT = Found("Maker-2", "2", "10.0.0.2", "00:30:53:00:00:02", "Ace")
OTHER = Found("Factory-2", "2", "10.0.0.3", "00:30:53:00:00:03", "Blackfly")


@pytest.mark.parametrize("name", ["2", "Maker-2", "10.0.0.2", "00:30:53:00:00:02"])
def test_a_camera_has_four_names(name: str) -> None:
    assert meant([LEFT, RIGHT], name) == RIGHT


def test_the_only_camera_needs_no_name_also_where_two_networks_lead_to_it() -> None:
    assert meant([LEFT, LEFT], "") == LEFT


def test_several_cameras_without_a_name_are_an_error_that_names_them() -> None:
    text = r"means 2 cameras, .*: genicam:Maker-1 \(Scout, 10.0.0.1\), genicam:Maker-2 \(Ace, 10.0.0.2\)$"
    with pytest.raises(StreamerError, match=text) as failure:
        meant([LEFT, RIGHT], "")
    assert not isinstance(failure.value, SourceLost)


def test_a_serial_number_that_two_makers_gave_is_an_error() -> None:
    with pytest.raises(StreamerError, match=r"genicam:2: means 2 cameras, .*Maker-2 .*Factory-2"):
        meant([LEFT, RIGHT, OTHER], "2")


def test_a_camera_that_does_not_answer_may_come() -> None:
    with pytest.raises(
        SourceLost, match=r"genicam:3: no camera of that name answers; there are genicam:Maker-1"
    ):
        meant([LEFT], "3")
    with pytest.raises(SourceLost, match=r"genicam:: no camera answers$"):
        meant([], "")


def test_of_many_cameras_some_are_named_and_the_others_counted() -> None:
    many = [Found(f"Maker-{i}", f"{i}", f"10.0.0.{i}", "", "Ace\x1b[2J") for i in range(20)]
    with pytest.raises(StreamerError, match=r"means 20 cameras.* and 12 more$") as failure:
        meant(many, "")
    assert str(failure.value).isprintable()
