"""The verb ``race``: lanes trained side by side on the same batches."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import (
    INTERRUPTED,
    SignPace,
    Verb,
    add_file,
    add_intervals,
    add_shared,
    config_of,
    given_again,
    new_path,
    path,
    print_json,
    print_table,
    progress_bar,
    save_charts,
    say,
    say_unused_template,
    tracker_of,
)
from olora_viz.machine.process import Progress, StoppedEarlyError, on_interruption
from olora_viz.machine.wording import epochs, listed, number, seconds

if TYPE_CHECKING:
    from olora_viz.races.race import Race
    from olora_viz.races.run import RaceTracker
    from olora_viz.races.step import Step


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    verb("race", run_race, "train lanes side by side on the same batches", _add_options)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "the fields of RaceConfig, its lanes as SPECs or tables")
    resumed = "resume the run in this folder, with --steps to another number of steps"
    parser.add_argument("--resume", type=path, metavar="DIR", help=resumed)
    add_shared(
        parser, "--model", "--task", "--lane", "--steps", "--epochs", "--batch-size", "--max-length",
        "--truncate", "--chat", "--seed", "--split-seed", "--test", "--keep", "--forget",
        "--device", "--dtype", "--base", "--accumulate", "--test-size", "--rows", "--batches", "--eval-size",
        "--schedule", "--warmup", "--weight-decay", "--clip", "--patience", "--keep-best",
        "--metric", "--objective", "--samples",
    )  # fmt: skip
    add_intervals(parser)
    target = "suffix of layer names to adapt, or attention, mlp or all; experts.down_proj adapts every expert's matrix"
    parser.add_argument("--target", action="append", metavar="NAME", dest="targets", help=target)
    parser.add_argument("--run", type=new_path, metavar="DIR", dest="folder", help="save the run in this folder")
    chained = "train on several tasks A,B,… one after the other, and merge each lane into its own base in between"
    parser.add_argument("--chain", action="store_true", default=None, help=chained)
    add_shared(parser, "--track", "--png")


def run_race(options: argparse.Namespace) -> int:
    """Race, in a run folder or without one: a line for each step, and a summary."""
    from olora_viz.cli.chain import run_chain
    from olora_viz.initializers import RankError
    from olora_viz.lanes.layers import no_gradient
    from olora_viz.machine.memory import keep_freed
    from olora_viz.races import run as runs
    from olora_viz.races.chain import is_chain
    from olora_viz.races.step import STOPPED
    from olora_viz.studies.contest import LOSS
    from olora_viz.studies.sentences import batches_vary, caveat
    from olora_viz.studies.verdict_line import verdict

    keep_freed()
    folder = options.resume or options.folder
    try:
        if options.chain or (options.resume is not None and is_chain(options.resume)):
            return run_chain(options, Shown(), _follow)
        tracker = tracker_of(options.track, folder)
        race, steps = _begin(options, shown := Shown())
    except RankError as error:
        raise ValueError(f"{error}; use a lower rank, or name other layers with --target") from None
    data = race.data
    say(data.about_held_out.parts)
    say_unused_template(data.unused_template)
    to_keep = race.text.sentence if race.text else ""
    fair_rates = (fair.sentence for fair in race.fair_rates)
    for words in (*data.too_long, *fair_rates, race.adapted, race.in_parts, to_keep):
        if words:
            say(words)
    saves = f", then saving it in {str(folder)!r}" if folder else ""
    with on_interruption(race.close, saves), closing(steps):
        again = options.resume is not None
        tracked = runs.RaceTracker(tracker, race.config, again=again) if tracker else None
        try:
            _follow(steps, race, shown, options.json, tracked)
        except StoppedEarlyError:  # in what comes after the last step
            raise KeyboardInterrupt from None
    summary = race.summary()
    line = verdict(runs.read_steps(folder) if folder else race, race) if race.done else None
    summary["verdict"] = line.to_json() if line else None
    if options.json:
        print_json({"summary": summary})
    else:
        print_summary(summary, by_loss=line.metric == LOSS if line else race.task.plain_text)
        if line:
            print(f"{line} ({line.reason})")
        print(f"{data.about_held_out.baseline} {data.about_held_out.boilerplate}".rstrip())
        print(caveat(race.config.lanes, by_seed=batches_vary(race.config, data.about_held_out)))
        if race.without_gradient:
            print(no_gradient(race.without_gradient))
    if options.png and race.done:
        _draw(options.png, race, folder)
    for warning in runs.adapter_warnings(folder) if folder else ():
        say(f"adapters: {warning}")
    return INTERRUPTED if race.status == STOPPED else 0


def _draw(path: Path, race: Race, folder: Path | None) -> None:
    """Save the charts of a race, and the inside of its adapters in the first layer that is looked at."""
    from olora_viz.figures.adapter import adapter_figures
    from olora_viz.figures.plots import race_figures
    from olora_viz.races.tables import Raced

    raced, figures = Raced.of(folder or race), []
    try:
        figures = adapter_figures(race)
    except ValueError as error:
        say(error)
    save_charts(path, [*race_figures(raced, ("accuracy", "loss", "gradient")), *figures])


class Shown:
    """The progress of a race, shown on the bar of loading and later beside its steps."""

    by: Progress

    def __call__(self, part: float, words: str) -> None:
        """Report progress."""
        self.by(part, words)


def _begin(options: argparse.Namespace, shown: Shown) -> tuple[Race, Race | Generator[Step, None, None]]:
    """Return a race and its remaining steps."""
    from olora_viz.races import run as runs
    from olora_viz.races.race import race

    if options.resume is not None:
        with progress_bar() as shown.by:
            run = runs.resume_run(options.resume, progress=shown, **given_again(options, "steps", "metric"))
        return run.race, iter(run)
    config = config_of(options)
    with progress_bar() as shown.by:
        if options.folder is not None:
            run = runs.start(config, options.folder, progress=shown)
            return run.race, iter(run)
        alone = race(config, progress=shown)
    return alone, alone


def _follow(
    steps: Iterator[Step],
    race: Race,
    shown: Shown,
    as_json: bool,
    tracked: RaceTracker | None = None,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Report every step as it comes; close the race, however its steps end.

    Args:
        beside: further values of each line of JSON.
    """
    from tqdm import tqdm

    labels, total, held_out = race.lanes.labels, race.config.steps, ""
    bar = tqdm(total=total, initial=race.done, unit="step", file=sys.stderr, mininterval=0.2)
    pace = SignPace()

    def show(part: float, words: str) -> None:
        bar.set_postfix_str(f"{words}, {part:.0%}", refresh=pace.is_due())

    shown.by = show
    with closing(race), bar:
        try:
            for step in steps:
                if as_json:
                    print_json({**step.to_json(labels), **beside})
                if tracked:
                    tracked.report(step)
                if step.eval_loss is not None:
                    held_out = held_out_range(step.eval_loss.tolist())
                bar.set_postfix_str(held_out, refresh=False)
                bar.update(step.step - bar.n)
            if tracked:
                tracked.report_results(race.done, race.summary())
        finally:
            if tracked:
                tracked.close()
            bar.set_postfix_str(held_out, refresh=False)


def print_summary(summary: dict[str, Any], *, by_loss: bool = False) -> None:
    """Print a race's summary, the best lane first.

    Args:
        by_loss: whether the held-out loss counts; else accuracy leads, and the loss breaks ties.
    """
    from olora_viz.studies.contest import ACCURACY, LOSS, Metric
    from olora_viz.tasks.evaluation import boilerplate_in

    lanes, base = summary["lanes"].items(), summary["base"]
    tested, keeps = base.get("test_loss") is not None, base.get("text_loss") is not None
    apart, metric = boilerplate_in(summary), (summary.get("held_out") or {}).get("metric") if tested else ""

    def results(values: dict[str, Any], held_out: str = "") -> list[str]:
        parts = (held_out, "test_") if tested else (held_out,)
        forms = (("loss", ".4f"), *[("boilerplate_loss", ".4f")] * bool(apart), ("accuracy", ".1%"))
        columns = [number(values[f"{part}{name}"], form) for part in parts for name, form in forms]
        columns += [number(values["test_score"], ".3f")] if metric else []
        drift = 0.0 if values is base else values.get("final_drift")
        return columns + [number(values.get(f"{held_out}text_loss"), ".4f"), number(drift, ".4f")] * keeps

    of_parts = [[f"{part} loss", *[apart] * bool(apart), "accuracy"] for part in ("held-out", *["test"] * tested)]
    head = ["lane", "status", *chain(*of_parts)]
    head += [f"test {metric}"] * bool(metric) + ["text loss", "drift"] * keeps
    rows = [[*head, "first gradient norm", "trained"]]
    for label, lane in sorted(lanes, key=lambda item: _rank(item[1], by_loss)):
        at = lane["diverged_at"] or lane.get("stopped_at")
        status = lane["status"] + (f" at step {at}" if at else "")
        cells = number(lane["first_grad_norm"]), f"{lane['parameters']:,}"
        rows.append([label, status, *results(lane, "final_"), *cells])
    rows.append(["(base model)", "", *results(base), "", ""])
    print_table(rows)
    if len(lanes) > 1:
        print(f"sorted {Metric(LOSS if by_loss else ACCURACY).order}, on the held-out examples")
    for label, lane in lanes:
        if lane["diverged_at"]:
            print(f"{label} is out of the race: its {lane['diverged_why']}")
    if any("adapter_step" in lane for _, lane in lanes):
        at = listed(f"{label} {lane['adapter_step']}" for label, lane in lanes)
        print(f"the adapters are those of the steps: {at}")
    print(
        f"{summary['status']} after {summary['steps']} steps ({epochs(summary['epochs'])}) in "
        f"{seconds(summary['seconds'])} on {summary['device']} ({summary['dtype']})"
    )
    if (frozen := summary["frozen"])["base"] != "float":
        after, before = (frozen[name] / 1e6 for name in ("bytes", "float_bytes"))
        print(f"the frozen weights take {after:,.1f} MB in {frozen['base']}, and {before:,.1f} MB without")


def held_out_range(eval_loss: Sequence[float]) -> str:
    """Return the range of the held-out losses, which names no lane; empty if all have diverged.

    >>> held_out_range([2.0, math.nan, 1.5]), held_out_range([1.5])
    ('held-out loss 1.500 to 2.000', 'held-out loss 1.500')
    """
    known = [loss for loss in eval_loss if math.isfinite(loss)]
    ends = dict.fromkeys(f"{end(known):.3f}" for end in (min, max)) if known else ()
    return f"held-out loss {' to '.join(ends)}" if known else ""


def _rank(lane: dict[str, Any], by_loss: bool) -> tuple[float, float]:
    """Return what lanes are ordered by: the better, the lower."""
    loss, share = lane["final_loss"], lane["final_accuracy"]
    led = 0.0 if by_loss or share is None else -share
    return led, math.inf if loss is None else loss
