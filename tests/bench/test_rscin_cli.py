"""`python -m bench.rscin`: the same numbers as the function, and one line when a file is wrong."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from bench.rscin import main
from musc_online.rscin import rescore


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    scores, tokens = rng.random(12), rng.normal(size=(12, 6)).astype(np.float32)
    np.save(tmp_path / "scores.npy", scores)
    np.save(tmp_path / "tokens.npy", tokens)
    return tmp_path, scores, tokens


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails(*arguments) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    return result.stderr


def test_prints_one_score_a_line(files):
    folder, scores, tokens = files
    result = run(folder / "scores.npy", folder / "tokens.npy")
    assert result.exit_code == 0
    printed = np.array(result.stdout.split(), float)
    np.testing.assert_allclose(printed, rescore(scores, tokens, (1, 2, 3)), atol=1e-8)


def test_writes_a_file_and_takes_the_options(files):
    folder, scores, tokens = files
    output = folder / "out.npy"
    result = run(
        folder / "scores.npy",
        folder / "tokens.npy",
        "--output",
        output,
        "--neighbour-counts",
        "1,8,9",
        "--no-normalise",
    )
    assert (result.exit_code, result.output) == (0, "")
    got = np.load(output, allow_pickle=False)
    np.testing.assert_array_equal(got, rescore(scores, tokens.astype(np.float64), (1, 8, 9), normalise=False))
    assert np.abs(got - rescore(scores, tokens, (1, 2, 3))).max() > 1e-3


@pytest.mark.parametrize(("counts", "key"), [("1,2,3", "after_1_2_3"), ("1,8,9", "after_1_8_9")])
def test_the_published_scores_of_real_features(golden, tmp_path, counts, key):
    recorded = golden("rscin_real")
    np.save(tmp_path / "s.npy", recorded["scores"])
    np.save(tmp_path / "t.npy", recorded["class_tokens"])
    # The features are unit vectors rounded to half precision, and the published code takes them as they are.
    arguments = ("--neighbour-counts", counts, "--no-normalise", "--output", tmp_path / "o.npy")
    assert run(tmp_path / "s.npy", tmp_path / "t.npy", *arguments).exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), recorded[key], atol=1e-6)


def test_as_a_module(files):
    folder, scores, tokens = files
    done = subprocess.run(
        [sys.executable, "-m", "bench.rscin", folder / "scores.npy", folder / "tokens.npy"],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    np.testing.assert_allclose(np.array(done.stdout.split(), float), rescore(scores, tokens), atol=1e-8)


class Bomb:
    def __reduce__(self):
        return (open, ("unpickled", "w"))


def test_nothing_is_unpickled(files, monkeypatch):
    folder = files[0]
    monkeypatch.chdir(folder)
    np.save(folder / "bad.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    assert "bad.npy: Object arrays cannot be loaded" in fails("bad.npy", "tokens.npy")
    assert not (folder / "unpickled").exists()


def test_wrong_files_are_one_line(files):
    folder, scores, _ = files
    good, features = folder / "scores.npy", folder / "tokens.npy"
    assert "none.npy: cannot be read (No such file" in fails(folder / "none.npy", features)
    assert "cannot be read (Is a directory)" in fails(folder, features)
    (folder / "text.npy").write_text("hello")
    assert "text.npy: " in fails(good, folder / "text.npy")
    (folder / "cut.npy").write_bytes(good.read_bytes()[:-9])
    assert "cut.npy: " in fails(folder / "cut.npy", features)
    np.save(folder / "words.npy", np.array(["a", "b"]))
    assert "words.npy: got dtype <U1, expected numbers" in fails(folder / "words.npy", features)
    np.save(folder / "few.npy", scores[:5])
    assert "expected [N] and [N, D]" in fails(folder / "few.npy", features)
    np.save(folder / "nan.npy", np.full(12, np.nan))
    assert "NaN or infinity" in fails(folder / "nan.npy", features)
    assert "out.npy: cannot be written" in fails(good, features, "--output", folder / "no" / "out.npy")


@pytest.mark.parametrize("counts", ["0,1", "a", "", "1,,2", "-3"])
def test_wrong_counts(files, counts):
    folder = files[0]
    result = run(folder / "scores.npy", folder / "tokens.npy", "--neighbour-counts", counts)
    assert result.exit_code == 2
    assert "expected numbers of at least 1" in result.stderr.replace("\n", " ")
