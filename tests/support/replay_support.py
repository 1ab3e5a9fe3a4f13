"""What the tests of `bench.replay` share: a small configuration, a drawn line, and a call of the command."""

import pytest

from bench import demo_data
from bench.replay import command

CONFIG = "backbone: {image_size: 56, stages: [5, 11]}\nrevise: {every: 4}\nwarmup: 3\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    return demo_data.generate(tmp_path_factory.mktemp("line"), n_good=8, n_defective=4, size=96)


def call(capsys, *arguments):
    status = command.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err
