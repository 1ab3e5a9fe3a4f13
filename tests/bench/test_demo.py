"""`musc-online demo`: its parts are drawn once, whole or not at all."""

from functools import partial

import pytest
from click.testing import CliRunner

from bench import demo_data
from bench.cli import main
from bench.demo import drawn


def test_the_demo_draws_its_parts_once_and_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo_data, "generate", partial(demo_data.generate, n_good=2, n_defective=1, size=32))
    folder = drawn(tmp_path / "out")
    assert folder == tmp_path / "out" / "data"
    assert len([*folder.rglob("test/*/*.png")]) == 3
    assert capsys.readouterr().out == f"parts drawn in {folder}\n"
    first = folder.stat().st_mtime_ns
    assert drawn(tmp_path / "out").stat().st_mtime_ns == first
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]


def test_a_demo_that_is_cut_short_leaves_no_half_of_its_parts(tmp_path, monkeypatch):
    def cut_short(folder):
        (folder / demo_data.CATEGORY).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_data, "generate", cut_short)
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_two_demos_at_a_time_draw_one_line(tmp_path, monkeypatch):
    generate = demo_data.generate

    def meanwhile(folder):
        generate(tmp_path / "data", n_good=1, n_defective=0, size=32)  # another demo is quicker
        return generate(folder, n_good=1, n_defective=0, size=32)

    monkeypatch.setattr(demo_data, "generate", meanwhile)
    assert drawn(tmp_path) == tmp_path / "data"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_demo_that_cannot_draw_says_so_in_a_line(tmp_path):
    (tmp_path / "file").touch()
    for words in (["--output", str(tmp_path / "file")], ["--fps", "3"], ["--data", str(tmp_path / "none")]):
        done = CliRunner().invoke(main, ["demo", *words])
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert words[0] in done.stderr
