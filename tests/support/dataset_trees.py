"""Small images and masks on disk, and what a reader made of them, for the tests of datasets."""

import os
from pathlib import Path

from PIL import Image

from bench.datasets import Sample, read


def image(path: Path, size: tuple[int, int] = (12, 8), value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value + 1, value + 2)).save(path)
    return path


def mask(path: Path, box: tuple[int, int, int, int] = (2, 2, 6, 6), value: int = 255, size=(12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Image.new("L", size)
    canvas.paste(value, box)
    canvas.save(path)
    return path


def mvtec_tree(root: Path, category: str = "bottle") -> Path:
    for name in ("10.png", "2.png"):
        image(root / category / "test" / "good" / name)
    for name in ("000", "001"):
        image(root / category / "test" / "crack" / f"{name}.png")
        mask(root / category / "ground_truth" / "crack" / f"{name}_mask.png")
    image(root / category / "train" / "good" / "0.png")
    return root


def one(dataset: str, root: Path, category: str = "all") -> tuple[Sample, ...]:
    (only,) = read(dataset, root, category)
    return only.samples


def facts(samples: tuple[Sample, ...]) -> list[tuple[str, int | None, str, int]]:
    return [(s.frame_id, s.label, s.defect, len(s.mask_paths)) for s in samples]


def strange_folder(root: Path) -> tuple[list[str], list[str]]:
    """A folder of all that is, or looks like, an image; what is one, and what is to be left out."""
    taken = [
        "10.png",
        "2.PNG",
        "b/1.jpeg",
        "b/deep/0.Tif",
        "c.bmp",
        "d.webp",
        "e.jfif",
        "f.JPE",
        "like.png/3.jpg",
    ]
    for name in taken:
        image(root / name)
    (root / "hollow.png").mkdir()
    (root / ".DS_Store").write_text("macOS")
    (root / "turns.png").symlink_to(root / "turns.png")
    image(root / "outside" / "4.png").rename(root.parent / "elsewhere.png")
    (root / "outside").rmdir()
    (root / "notes.txt").write_text("no image")
    (root / "Thumbs.db").write_text("no image")
    image(root / ".cache" / "5.png")
    (root / "b" / "._1.jpeg").write_bytes(b"macOS")
    image(root / ".hidden.png")
    (root / "empty.png").touch()
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "link.png").symlink_to(root.parent / "elsewhere.png")
    (root / "loop").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe.png")
    left_out = [
        ".cache (a hidden folder)",
        ".hidden.png (hidden)",
        "b/._1.jpeg (hidden)",
        "empty.png (no bytes)",
        "gone.png (a link to nothing)",
        "hollow.png (an empty folder)",
        "loop (a link to a folder)",
        "pipe.png (no file)",
        "turns.png (a link to nothing)",
        "notes.txt (not named as an image)",
    ]
    return sorted([*taken, "link.png"]), left_out
