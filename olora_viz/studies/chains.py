"""A chain as one race of a study: its links, one after the other, and the rows of its lanes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from olora_viz.machine.files import read_json_object
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.machine.wording import and_
from olora_viz.races.chain import CHAIN, Chain, chain, is_chain, resume_chain, since
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.export import PAST
from olora_viz.races.run import read_config, read_definitions, read_steps
from olora_viz.races.step import DIVERGED, Step
from olora_viz.studies.folder import COLUMNS, about_lane, own_measures, row_of, without_weights, write_part
from olora_viz.studies.method import method_name
from olora_viz.studies.preregistration import read_setup
from olora_viz.studies.rows import FORGOTTEN, FORGOTTEN_ACCURACY, column_of_link, values_of
from olora_viz.studies.search import best, candidates_tried, values_at
from olora_viz.studies.statistics import choose
from olora_viz.studies.study import Candidate, Cell, Study
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.task import THEN, links_of, task_words

if TYPE_CHECKING:
    from olora_viz.studies.verdicts import Verdicts


def config_of_chain(folder: Path) -> RaceConfig:
    """Read the set-up of a chain, as a study has it."""
    values = read_json_object(folder / CHAIN)
    return RaceConfig.from_json(values["config"]).replace(task=THEN.join(values["tasks"]))


def race_chain(
    folder: Path,
    config: RaceConfig,
    watch: Callable[[Step], bool] | None,
    progress: Progress | None,
    cache: ModelCache | None,
) -> bool:
    """Run a chain of a study, or go on with it, and write its rows; return whether it has ended.

    Args:
        watch: called after each step; ends the chain when it returns False.

    Raises:
        ValueError: the chain cannot be set up.
    """
    more: Any = {"adapters": False, "progress": progress, "cache": cache}
    if is_chain(folder):
        races = resume_chain(folder, metric=config.metric, **more)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # what a kill may have left before the set-up
        races = chain(config, links_of(config.task), folder=folder, **more)
    for link in races:
        goes_on = False
        try:
            with closing(iter(link.run or link.race)) as steps:
                goes_on = all(watch is None or watch(step) for step in steps)
        finally:
            if not goes_on:
                link.race.lanes.detach()
        if not goes_on:
            return False
    write_rows_of_chain(races)
    return True


class Pooled(NamedTuple):
    """The results of lanes on the examples of several tasks, each of which weighs the same."""

    loss: np.ndarray
    """(K,) the mean over the tasks."""
    accuracy: np.ndarray
    """(K,) that of the shares of right answers."""
    example_loss: np.ndarray
    """(K, n) of the examples of all tasks, whose mean is `loss`."""
    example_right: np.ndarray
    """(K, n) of the same, whose mean is `accuracy` unless some examples weigh more, as in plain text."""


def pooled(tasks: Sequence[Evaluation]) -> Pooled:
    """Put the results of the same lanes on several tasks together.

    An example counts N / (T·n) times, n being the examples of its task and N those of all T, so that the mean over
    examples is the mean over tasks. The interval of that mean treats the examples as one sample, and so counts the
    differences between tasks as well: but for the degrees of freedom, it is never narrower than a stratified one's.
    """
    numbers = [part.example_loss.shape[1] for part in tasks]
    weights = [sum(numbers) / (len(tasks) * n) for n in numbers]

    def of_examples(name: str) -> np.ndarray:
        return np.hstack([weight * getattr(part, name) for weight, part in zip(weights, tasks, strict=True)])

    return Pooled(
        np.mean([part.loss for part in tasks], axis=0), np.mean([part.accuracy for part in tasks], axis=0),
        of_examples("example_loss"), of_examples("example_right"),
    )  # fmt: skip


def write_rows_of_chain(races: Chain) -> None:
    """Write the rows of a chain that has ended, and delete the weights in its folder.

    What a study chooses by and judges on, the losses after the last link, are means over all tasks.
    """
    folder = races.folder
    assert folder is not None
    links = [folder / f"link-{number}" for number in range(1, len(races.links) + 1)]
    race, results = races.at_end()
    tested = [each.tested for each in results.values() if each.tested]
    ended = {"valid": [(each.base, each.lanes) for each in results.values()], "test": tested}
    whole = [part for part, each in ended.items() if len(each) == len(results)]
    pools = {part: [pooled(each) for each in zip(*ended[part], strict=True)] for part in whole}
    study = read_setup(Study, folder.parent.parent)
    config = races.config.replace(task=THEN.join(races.tasks))
    definitions, measures = read_definitions(links[0]), own_measures(read_steps(links[-1]))
    if race.forgotten:
        measures |= race.forgotten._asdict()
    abouts = [each.data.about_held_out for each in results.values()]
    summaries = [read_json_object(link / "summary.json") for link in links]
    names = [dict(zip(races.racing(i), read_config(link).labels, strict=True)) for i, link in enumerate(links)]
    unknown = np.full(pools["valid"][0].example_loss.shape[1], np.nan)
    of_all = {
        "guess_test_accuracy": np.mean([number_or_nan(about.test_guess) for about in abouts]),
        "guess": "one answer for each task", "base_text_loss": race.text and race.text.loss,
        "test_examples": 0, "test_loss_by_example": [], "test_right_by_example": [],
        **dict.fromkeys(("run_loss_by_example", "earlier_valid_loss_by_example"), unknown),
    }  # fmt: skip
    for part, (base, _) in pools.items():
        of_all |= {
            f"base_{part}_loss": base.loss[0], f"base_{part}_accuracy": base.accuracy[0],
            f"{part}_examples": base.example_loss.shape[1], f"base_{part}_loss_by_example": base.example_loss[0],
        }  # fmt: skip
    rows = []
    for lane, label in zip(config.lanes, races.labels, strict=True):
        k = list(names[-1]).index(label) if label in names[-1] else None
        ran = [summary for summary, lanes in zip(summaries, names, strict=True) if label in lanes]
        states = [summary["lanes"][lanes[label]] for summary, lanes in zip(ran, names, strict=False)]
        known = [link["lanes"][label]["results"] for link in races.links if label in link["lanes"]]
        row = of_all | row_of(study.trial_of(config, lane)) | about_lane(lane, folder, definitions) | {
            "steps": sum(summary["steps"] for summary in ran),
            "status": DIVERGED if k is None else states[-1]["status"],
            "first_grad_norm": states[0]["first_grad_norm"],
            "tokens": sum(
                results[task].data.tokens(number, config.order(lane))
                for task, summary in zip(races.tasks, ran, strict=False)
                for number in range(1, summary["steps"] + 1)
            ),
            "seconds": sum(summary["seconds"] / len(summary["lanes"]) for summary in ran),
            "evaluated": np.cumsum([summary["steps"] for summary in ran])[: len(known)].tolist(),
            "valid_losses": [np.mean([number_or_nan(of["loss"]) for of in each.values()]) for each in known],
            FORGOTTEN: since(races, label, "loss"), FORGOTTEN_ACCURACY: -since(races, label, "accuracy"),
        }  # fmt: skip
        for number, (task, of_tasks) in enumerate(zip(races.tasks, known, strict=False), 1):
            row[column_of_link(number)] = number_or_nan(of_tasks[task]["loss"])
        for part, (_, lanes) in pools.items():
            for name in ("loss", "accuracy"):
                row[f"{part}_{name}"] = None if k is None else finite_or_none(getattr(lanes, name)[k])
            for name in ("loss", "right"):
                of_lanes = getattr(lanes, f"example_{name}")
                row[f"{part}_{name}_by_example"] = np.full(of_lanes.shape[1], np.nan) if k is None else of_lanes[k]
        rows.append(row | {key: None if k is None else finite_or_none(each[k]) for key, each in measures.items()})
    of_links = [column_of_link(number) for number in range(1, len(races.tasks) + 1)]
    own = [*of_links, FORGOTTEN, FORGOTTEN_ACCURACY, *(key for key in measures if key not in COLUMNS)]
    write_part(folder, rows, own)
    for link in links:
        without_weights(link)
        (link / PAST).unlink(missing_ok=True)


def chosen_alone(verdicts: Verdicts, cell: Cell, method: str) -> list[Candidate | None]:
    """Return what each link of a chain would have chosen for a method by the loss on its own task right after it.

    The choice is among the candidates that were tried; None where each has a diverged run.
    """
    study, rows = verdicts.study, verdicts.rows
    losses = values_of(rows, "valid_loss")
    tried, chosen = candidates_tried(study, cell, method, losses), best(study, cell, method, losses)
    choices = []
    for number in range(1, len(cell.links) + 1):
        values = {trial: row.get("measures", {}).get(column_of_link(number), np.nan) for trial, row in rows.items()}
        place = choose(values_at(study, cell, method, tried, values, chosen.seeds if chosen else None))
        choices.append(None if place is None else tried[place])
    return choices


def words_alone(verdicts: Verdicts) -> Mapping[str, str]:
    """Say of each method of each chain what its links alone would have chosen, by cell and method in words."""
    said = {}
    for verdict in verdicts.each:
        links = verdict.cell.links
        if len(links) < 2 or verdict.best is None:
            continue
        alone = chosen_alone(verdicts, verdict.cell, verdict.method)
        each = [
            f"{at.words if at else 'nothing'} for {task_words(task)}" for task, at in zip(links, alone, strict=True)
        ]
        said[f"{verdict.cell.words()}, {method_name(verdict.method)}"] = (
            f"the loss after the last link, over all tasks, chooses {verdict.best.words}; the loss right after each "
            f"link would have chosen {and_(each)}"
        )
    return said
