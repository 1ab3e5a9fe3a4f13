"""All categories of a replay, one after the other in bounded memory, and what is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import report
from bench.datasets import Category
from bench.progress import Phases
from bench.replay import outcome, published, ranking, resume, saved, terminal
from bench.replay.category import replay
from bench.replay.outcome import Entry
from bench.replay.settings import Options
from musc_online import backbones
from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.errors import DataError
from streamer.printable import printable


@dataclass(frozen=True)
class Plan:
    """What to replay and what to leave behind; `output` and `json_path` may be None."""

    config: Config
    options: Options
    categories: Sequence[Category]
    output: Path | None = None
    json_path: Path | None = None
    expect_published: bool = False
    fresh: bool = False


def run_plan(plan: Plan, console: Console, errors: Console) -> int:
    """Replay, report, and give the exit status: 0 unless parity or an expectation fails.

    Args:
        plan: what to do.
        console: gets the table.
        errors: gets progress and warnings.

    Raises:
        MuscError: data, weights or options that cannot be used.
    """
    categories = plan.categories
    if plan.output is not None:
        _refuse_names_of_the_report(categories)
    for category in categories:
        _say(errors, f"{category.name}: {category.counted}")
        for line in category.remarks:
            _say(errors, f"warning: {category.name}: {line}")
    if plan.expect_published:
        for line in published.unlike(plan.config, plan.options):
            _say(errors, f"warning: not like with like: {line}")
        for line in published.notes(plan.options.dataset, plan.config):
            _say(errors, f"published: {line}")
    found = list(_replay_each(categories, plan, errors))
    document = outcome.document(found, plan.config, plan.options)
    missed = published.missed(document, plan.config, plan.options) if plan.expect_published else []
    terminal.show(document, console, plan.output)
    for line in missed:
        _say(console, f"not as published: {line}")
    if plan.output is not None:
        path = report.write(plan.output, document, plan.options, datetime.now(UTC))
        _say(console, f"report: {path}")
    if plan.json_path is not None:
        outcome.save(plan.json_path, document)
    broken = any(entry["parity"]["holds"] is False for entry in found)
    return 1 if broken or missed else 0


def _refuse_names_of_the_report(categories: Sequence[Category]) -> None:
    """Before the work: afterwards the report could not be written."""
    for category in categories:
        if category.name.casefold() in report.FILES:  # file systems may not tell cases apart
            raise DataError(
                f"{category.name}: a category of this name would lie where --output puts its own file; "
                "rename its folder, or leave out --output"
            )


def _say(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _replay_each(categories: Sequence[Category], plan: Plan, errors: Console) -> Sequence[Entry]:
    backbone = backbones.load_configured(plan.config.backbone)
    found = []
    for number, category in enumerate(categories, start=1):
        kept = _kept_path(plan, category)
        wanted = resume.fingerprint(category, plan.config, plan.options, backbone.fingerprint)
        entry, stale = (None, "") if kept is None or plan.fresh else resume.finished(kept, wanted)
        if stale:
            _say(errors, f"{category.name}: {stale}, replayed anew")
        if entry is not None:
            _say(errors, f"{category.name}: finished before, kept from {kept}")
        else:
            title = category.name if len(categories) == 1 else f"{category.name} ({number}/{len(categories)})"
            entry = _replay_one(category, plan, backbone, Phases(title, errors))
            if kept is not None:
                # Last, when all else of the category is written: what is kept is whole.
                resume.keep(kept, wanted, entry)
        found.append(entry)
    return found


def _replay_one(category: Category, plan: Plan, backbone: Backbone, phases: Phases) -> Entry:
    found = replay(category, plan.config, plan.options, backbone, phases)
    entry = found.entry()
    entry["ranking"] = ranking.of(found) if found.truth is None else None
    if plan.output is not None:
        if plan.options.save:
            with phases.phase("files", len(category.samples), "files of --save") as done:
                written = saved.write(plan.output / category.name, found, plan.options.save, done)
            found.saved, entry["saved"] = written.files, written.as_json()
        with phases.phase("pictures"):
            entry["files"] = report.write_category(plan.output / category.name, found, plan.options)
    return entry


def _kept_path(plan: Plan, category: Category) -> Path | None:
    return None if plan.output is None else plan.output / category.name / "result.json"
