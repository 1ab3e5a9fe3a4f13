"""What a broker says of itself when it lets us in: where no verdict would get through, we are not with it."""

from types import SimpleNamespace

import pytest

from streamer.bridges.mqtt.handshake import Terms


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({}, None),
        ({"MaximumPacketSize": 2048}, None),
        ({"MaximumPacketSize": 2047}, "packets of 2047 bytes at most, expected 2048"),
        ({"MaximumQoS": 0}, "takes no QoS 1"),
        ({"RetainAvailable": 0}, "keeps no retained messages"),
    ],
)
def test_a_broker_with_which_nothing_arrives_is_refused_in_words(said, refusal):
    terms = Terms(16)
    terms.agree(SimpleNamespace(**said))
    assert (terms.refusal is None) == (refusal is None)
    assert (refusal or "") in (terms.refusal or "")
