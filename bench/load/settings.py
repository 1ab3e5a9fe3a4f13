"""The configuration of the detector that a load test starts, and where one is that it does not."""

import json
import math
from pathlib import Path
from typing import Any

from bench.load.nodes import Nodes
from bench.load.plan import OF_RAY, Plan
from streamer.process import ANY_PORT, ServerError

_SHARDS = 2


def settings(plan: Plan, path: Path | None, folder: Path) -> dict[str, Any]:
    """The configuration, with ports, history and snapshots of the run's own.

    Args:
        plan: what is to be done with it.
        path: the file it begins with; None is all defaults.
        folder: for history and snapshots.

    Raises:
        ServerError: something is to be killed that its engine does not have.
    """
    from musc_online import config as configuration  # noqa: PLC0415  (help does without)

    values = configuration.load(path).model_dump(mode="json")
    values["transport"] |= {"frames": ANY_PORT, "scores": ANY_PORT, "control": ANY_PORT, "imagezmq": None}
    values["transport"] |= {
        "reliable": ANY_PORT,
        "imagezmq_subscribe": [],
        "subscriber_queue": 1_000_000,
        "heartbeat_s": 0.5,
    }
    messages = 20 * plan.frames + 10_000
    values["history"] |= {
        "path": str(folder / "history.sqlite"),
        "max_messages": messages,
        "max_bytes": 8 * 2**30,
    }
    values["snapshot"] |= {"path": str(folder / "snapshots"), "every_s": max(1.0, plan.seconds / 20)}
    values["metrics"]["endpoint"] = None
    values["limits"]["streams"] = max(values["limits"]["streams"], plan.publishers)
    _set_engine(values, plan)
    return values


def _set_engine(values: dict[str, Any], plan: Plan) -> None:
    engine = values["engine"]
    engine["name"] = plan.engine or engine["name"]
    needs = next((kind for kind in plan.kills if kind in OF_RAY), None)
    if needs is not None and engine["name"] != "ray":
        raise ServerError(f"--kill-{needs}: the engine is '{engine['name']}', expected --engine ray")
    if "shard" in plan.kills:
        engine["shards"] = engine["shards"] or _SHARDS
    if plan.compared or engine["name"] == "ray":
        values["snapshot"]["journal"] = True


def cluster(values: dict[str, Any], plan: Plan, folder: Path) -> Nodes:
    """A cluster whose nodes can be killed, and the configuration that goes there.

    Args:
        values: the configuration; its engine is sent to the cluster.
        plan: how many streams there are.
        folder: for what the cluster keeps.

    Raises:
        ServerError: Ray is not installed, or the configuration names a cluster.
    """
    engine = values["engine"]
    if engine["address"] is not None:
        raise ServerError(
            "--kill-node: engine.address is set, expected null: only nodes of our own are killed"
        )
    a_line = engine["line_cpus"] + engine["shards"] * engine["shard_cpus"]
    needed = engine["backbones"] * engine["backbone_cpus"] + plan.publishers * a_line
    nodes = Nodes(folder, max(1, math.ceil(needed)))
    engine |= {"address": nodes.address, "token": str(nodes.token)}
    return nodes


def given(connect: str) -> dict[str, str]:
    """Endpoints of a running server.

    Args:
        connect: path of its --ready-file, or `name=endpoint,...`.

    Raises:
        ServerError: it is neither.
    """
    path = Path(connect)
    if "=" not in connect:
        try:
            endpoints: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["endpoints"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ServerError(
                f"--connect: got '{connect}', expected a --ready-file of musc-online serve, "
                "or name=endpoint,..."
            ) from None
        return endpoints
    parts = [entry.partition("=") for entry in connect.split(",")]
    return {name.strip(): where.strip() for name, _, where in parts}
