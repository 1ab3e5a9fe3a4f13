"""What `genicam:NAME?KEY=VALUE` means, and what is said of one that cannot be."""

import pytest

from streamer.errors import StreamerError
from streamer.sources.genicam.settings import Settings, parse


def test_an_address_names_a_camera_and_how_it_is_to_be_set() -> None:
    address = (
        "genicam:GV01?exposure_us=2000.5&gain=-3&frame_rate=12&trigger=Line0&trigger_edge=FallingEdge"
        "&pixel_format=BayerRG8&region=8,16,640,480&packet_size=9000&BlackLevel=4&BalanceWhiteAuto=Once"
    )
    assert parse(address) == Settings(
        "GV01",
        exposure_us=2000.5,
        gain=-3.0,
        frame_rate=12.0,
        trigger="Line0",
        trigger_edge="FallingEdge",
        pixel_format="BayerRG8",
        region=(8, 16, 640, 480),
        packet_size=9000,
        features={"BlackLevel": "4", "BalanceWhiteAuto": "Once"},
    )


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("genicam:", ""),
        ("genicam:192.168.1.20", "192.168.1.20"),
        ("genicam:Basler-21%200-x", "Basler-21 0-x"),
        ("genicam:GV01?", "GV01"),
    ],
)
def test_a_name_may_be_left_out_or_hold_what_it_likes(address: str, name: str) -> None:
    assert parse(address) == Settings(name)


@pytest.mark.parametrize(
    ("value", "trigger"),
    [
        ("software", "Software"),
        ("Software", "Software"),
        ("OFF", "off"),
        ("Line0", "Line0"),
        ("line0", "line0"),
    ],
)
def test_software_and_off_are_words_and_lines_are_the_cameras(value: str, trigger: str) -> None:
    assert parse(f"genicam:?trigger={value}").trigger == trigger


def test_a_camera_may_choose_exposure_and_gain_itself() -> None:
    settings = parse("genicam:?exposure_us=auto&gain=auto")
    assert (settings.exposure_us, settings.gain) == ("auto", "auto")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("exposure=3", "source: exposure: unknown, expected exposure_us, gain, frame_rate"),
        ("exposure_us=abc", "source: exposure_us: got abc, expected a number above 0, or auto"),
        ("exposure_us=0", "source: exposure_us: got 0, expected a number above 0, or auto"),
        ("exposure_us=inf", "source: exposure_us: got inf"),
        ("gain=nan", "source: gain: got nan, expected a number, or auto"),
        ("frame_rate=auto", "source: frame_rate: got auto, expected a number above 0"),
        ("frame_rate=-2", "source: frame_rate: got -2"),
        ("trigger=Line 0", "source: trigger: got Line 0, expected a name"),
        ("trigger_edge=RisingEdge", "source: trigger_edge: goes with the trigger of a line only"),
        ("trigger=off&trigger_edge=RisingEdge", "source: trigger_edge: goes with the trigger of a line only"),
        ("region=1,2,3", "source: region: got 1,2,3, expected X,Y,WIDTH,HEIGHT"),
        ("region=0,0,0,4", "source: region: got 0,0,0,4, expected a width and a height above 0"),
        ("packet_size=90000", "source: packet_size: got 90000, expected 220 to 16384 bytes"),
        ("packet_size=8k", "source: packet_size: got 8k"),
        ("gain=1&gain=2", "source: gain: given twice"),
        ("BlackLevel=1&BlackLevel=2", "source: BlackLevel: given twice"),
        ("gain", "source: genicam:GV01: got gain, expected KEY=VALUE"),
        ("gain=", "source: genicam:GV01: got gain=, expected KEY=VALUE"),
        ("Gamma=%0a", r"source: Gamma: got \\n, expected a value that can be printed"),
    ],
)
def test_one_line_says_what_is_wrong_with_a_setting(query: str, text: str) -> None:
    with pytest.raises(StreamerError, match=f"^{text}") as failure:
        parse(f"genicam:GV01?{query}")
    assert str(failure.value).isprintable()


@pytest.mark.parametrize("address", ["genicam:a/b", "genicam:gain=3", "genicam:" + "x" * 5000])
def test_what_is_no_name_is_refused(address: str) -> None:
    with pytest.raises(StreamerError, match=r"^source: "):
        parse(address)
