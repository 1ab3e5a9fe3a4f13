"""What a stopped replay left behind: taken where it is the result of the same, else replayed anew."""

import json
import shutil
from pathlib import Path

import pytest
from outcome_support import hot, outcome_of
from replay_support import call, config, line

import musc_online
from bench import report
from bench.replay import resume, saved
from bench.replay.settings import SAVEABLE, Options

__all__ = ["config", "line"]


@pytest.mark.slow
def test_a_stopped_replay_goes_on_after_its_finished_categories(line, config, tmp_path, capsys):
    data, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(line / "part", data / "first")
    shutil.copytree(line / "part", data / "second")
    broken = Path("test", "dent", "000.png")
    (data / "second" / broken).write_bytes(b"not an image")
    arguments = ("mvtec", "--data", data, "--config", config, "--output", output, "--limit", 3)
    status, _, said = call(capsys, *arguments, "--category", "first")
    assert status == 0, said
    kept = json.loads((output / "report.json").read_text())["categories"][0]
    status, _, said = call(capsys, *arguments)
    assert status == 2
    assert "first: finished before" in said
    shutil.copy(line / "part" / broken, data / "second" / broken)
    status, _, said = call(capsys, *arguments)
    assert status == 0
    assert "first: finished before" in said
    document = json.loads((output / "report.json").read_text())
    assert [entry["category"] for entry in document["categories"]] == ["first", "second"]
    assert document["categories"][0] == kept
    (data / "first" / broken).touch()
    _, _, said = call(capsys, *arguments, "--category", "first")
    assert "finished before" not in said, "other files are another result"


def test_a_result_kept_by_other_code_is_not_taken(line, config, tmp_path, capsys, monkeypatch):
    arguments = ("mvtec", "--data", line, "--config", config, "--output", tmp_path, "--limit", 3)
    assert call(capsys, *arguments)[0] == 0
    assert "part: finished before, kept" in call(capsys, *arguments)[2]
    assert "finished before" not in call(capsys, *arguments, "--save", "maps")[2], "other files are wanted"
    assert (tmp_path / "part" / "maps").is_dir()
    assert "finished before" not in call(capsys, *arguments)[2]
    monkeypatch.setattr(resume, "code", lambda: "of another release")
    status, _, said = call(capsys, *arguments)
    assert status == 0
    assert "part: finished before by other code or library versions, replayed anew" in said
    assert "part: finished before, kept" in call(capsys, *arguments)[2]


def test_the_code_is_its_sources_and_the_versions_below_them(tmp_path, monkeypatch):
    def digest():
        resume.code.cache_clear()
        return resume.code()

    try:
        before = digest()
        assert digest() == before
        with monkeypatch.context() as changed:
            changed.setattr(resume.metadata, "version", lambda name: "0.0.1")
            assert digest() != before
        shutil.copytree(Path(musc_online.__path__[0]), tmp_path / "musc_online")
        monkeypatch.setattr(musc_online, "__path__", [str(tmp_path / "musc_online")])
        assert digest() == before, "where the sources lie does not matter"
        with (tmp_path / "musc_online" / "rscin.py").open("a") as file:
            file.write("# another line\n")
        assert digest() != before
    finally:
        resume.code.cache_clear()


def test_what_was_kept_counts_only_while_every_file_it_names_is_there(tmp_path):
    outcome = outcome_of(tmp_path / "images", [("bad.png", hot(1, 1, 0.9), True, 0.5)])
    folder, options = tmp_path / "part", Options("folder", "data")
    outcome.saved = saved.write(folder, outcome, SAVEABLE).files
    files = report.write_category(folder, outcome, options)
    entry = {"files": files, "saved": {"n_files": dict.fromkeys(SAVEABLE, 1)}}
    resume.keep(folder / "result.json", "wanted", entry)
    assert resume.finished(folder / "result.json", "wanted") == (entry, "")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert {"maps/bad.tiff", "masks/bad.png", "overlays/bad.png", "anomalous_01.jpg"} < set(names)
    for name in sorted({*names} - {"result.json"}):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        why = f"finished before, but {name} is not there any more"
        assert resume.finished(folder / "result.json", "wanted") == (None, why)
        (folder / name).write_bytes(content)
    assert resume.finished(folder / "result.json", "wanted") == (entry, "")
