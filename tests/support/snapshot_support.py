"""Services with snapshots: their configuration, what they say of frames, and damaged files."""

import json

from safetensors import safe_open
from safetensors.numpy import save_file
from streamer_support import CAPTURED_NS, Camera, Screen, control, small_config

from musc_online import snapshot, snapshot_file
from streamer.server import known_ids, locks

SAID = ("frame_id", "seq", "capture_ns", "meta", "raw_score", "rscin_score", "pred_score", "pred_label",
        "threshold", "state", "n_references", "revision", "is_final", "regions")  # fmt: skip


def config(folder=None, *, journal=False, **sections):
    """One frame a backbone batch: the numbers then do not depend on which frames happened to share one."""
    sections["transport"] = {"batch": 1, **sections.get("transport", {})}
    path = None if folder is None else str(folder)
    return small_config(
        snapshot={"path": path, "every_s": 3600, "journal": journal}, revise={"every": 3}, **sections
    )


def show(service, seeds, stream="line"):
    """What is said of these frames, revisions included, and then at a flush."""
    with Screen(service, f"{stream}/") as screen, Camera(service.endpoints["frames"]) as camera:
        for seed in seeds:
            camera.picture(seed, stream, capture_ns=CAPTURED_NS + seed, meta={"part": seed})
        last, said = f"{stream}-{seeds[-1]}", []
        while not said or (said[-1]["frame_id"], said[-1]["kind"]) != (last, "score"):
            said += screen.until(1, "score", "revision")
        control(service, "flush", stream=stream)
        while (said[-1]["frame_id"], said[-1]["is_final"]) != (last, True):
            said += screen.until(1, "score", "revision")
    return [{name: fields[name] for name in SAID} for fields in said]


def play(service, seeds, stream="line"):
    with Screen(service, f"{stream}/") as screen, Camera(service.endpoints["frames"]) as camera:
        for seed in seeds:
            camera.picture(seed, stream, capture_ns=CAPTURED_NS + seed, meta={"part": seed})
        return screen.until(len(seeds), "score")


def tampered(path, change):
    """Change the state in a file, as its arrays are, and sign that."""
    with safe_open(path, "numpy") as opened:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    state = json.loads(bytes(arrays.pop("state")))
    change(state)
    kept, header = snapshot_file.pack(snapshot.Snapshot(arrays, state))
    save_file(kept, path, header)


def files(folder):
    """What is in a folder of snapshots, but for its lock and the ids of frames."""
    beside = (locks.FOLDER, known_ids.FILE)
    return [path for path in folder.iterdir() if not path.name.startswith(beside)]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def forget_ids(folder):
    """What is known of ids beside the snapshots is gone, or older than they are."""
    for path in folder.glob(f"{known_ids.FILE}*"):
        path.unlink()
