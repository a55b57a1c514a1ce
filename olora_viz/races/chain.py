"""A chain: races one after the other, each of which merges its lanes into their own bases for the next."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import as_base, on_a_core
from olora_viz.lanes.lane import BASE, Lane, labels
from olora_viz.lanes.memory import Footprint
from olora_viz.lanes.past import Past
from olora_viz.machine import memory
from olora_viz.machine.checks import expect
from olora_viz.machine.devices import in_float64
from olora_viz.machine.files import FORMAT, check_format, is_free, read_json_object, write_json
from olora_viz.machine.process import HeldInterrupt, OfLongWork, Progress, StoppedEarlyError
from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.machine.wording import listed
from olora_viz.measures.spectra import effective_rank, product_singular_values
from olora_viz.measures.truncation import Weight, intruder_dimensions
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, RaceData, model_name, task_of
from olora_viz.races.fields import BY_NAME, IMITATION
from olora_viz.races.race import Race
from olora_viz.races.run import Run
from olora_viz.races.start import Sizing
from olora_viz.races.step import DIVERGED, FINISHED, STOPPED, Step
from olora_viz.races.trainer import judged
from olora_viz.tasks.evaluation import Evaluation, Tested
from olora_viz.tasks.metrics import Metric
from olora_viz.tasks.task import THEN, links_of

if TYPE_CHECKING:
    import pandas as pd

CHAIN = "chain.json"
"""The file with the set-up and the results of a chain, in the folder around those of its links."""

MOST_WORK = 4e9
"""The largest sum over layers of m²n, m × n or n × m with m ≤ n, for which a chain counts intruder dimensions.
On one core glassllm, with 9e7, takes 0.04 s a link and 0.03 s a lane; SmolLM2, with 6e10, would take 16 s and 5 s.
"""

Results = dict[str, dict[str, float | None]]
"""By task: held-out loss, without boilerplate, and accuracy; None if not known."""


class OnTask(NamedTuple):
    """The results on one task, by example."""

    data: RaceData
    base: Evaluation
    """Of the base model, on the held-out examples."""
    lanes: Evaluation
    """Of the lanes there."""
    tested: Tested | None
    """Of both on the test examples, if the task has any."""


@dataclass(frozen=True)
class ChainLink:
    """One race of a chain; iterating over it trains the lanes.

    Attributes:
        number: 1 for the first.
        task: its task.
        race: the race; its lanes are those of the chain that have not diverged in an earlier link.
    """

    number: int
    task: str
    race: Race
    run: Run | None = None

    def __iter__(self) -> Iterator[Step]:
        """Go on with the steps of the race."""
        return iter(self.run or self.race)


class Chain(Iterator[ChainLink]):
    """Races on one task after the other, from `chain`: an iterator of `ChainLink`.

    After each link every lane's ΔW is merged into its own base, and a new adapter starts from that: OLoRA's reads
    W + ΔW. The model in memory stays as it is: what was merged are frozen factors beside it, see `Past`. A lane that
    diverges leaves the chain.

    Attributes:
        config: the set-up of each link, but for its task.
        tasks, objectives: of the links, in order.
        folder: where the runs of the links are saved; None if they are not.
        base: the base model's results by task, empty before the first link has ended.
        links: for each link that has ended its task, `base_text_loss`, the base model's loss on the text to keep, and
            by the label of a lane

            - `results` by task;
            - `moved`: the size of its update as a share of ‖W‖; that of all updates so far; their effective rank, a
              mean over layers; the angle between its update and those before, in degrees, None in the first link; and
              how many of a layer's 10 leading left singular vectors of W and all updates are `intruders`, a mean over
              layers, see `intruder_dimensions`, None for a model that is larger than `MOST_WORK`;
            - `text_loss` and `drift`, KL(base‖lane), on the text to keep. The base is the model before the first link.
              Without a text, both and `base_text_loss` are missing.

    Examples:
        >>> import olora_viz as ov
        >>> config = ov.RaceConfig(lanes=(ov.Lane("olora"),), steps=2, eval_size=4)
        >>> chain = ov.chain(config, ["sentiment", "uppercase"])
        >>> steps = [step for link in chain for step in link]
        >>> chain
        <Chain on glassllm: sentiment, uppercase; 2 of 2 ended>
        >>> [sorted(link["lanes"]["olora"]["results"]) for link in chain.links]
        [['sentiment', 'uppercase'], ['sentiment', 'uppercase']]
    """

    def __init__(
        self,
        config: RaceConfig,
        tasks: Sequence[str],
        folder: Path | None = None,
        progress: Progress | None = None,
        *,
        objectives: Sequence[str] = (),
        adapters: bool = True,
        cache: ModelCache | None = None,
    ) -> None:
        self.objectives = tuple(objectives) or (config.objective,) * len(tasks)
        self.config = config.replace(task=tasks[0], objective=self.objectives[0])
        self.tasks, self.folder = tuple(tasks), folder
        self.base: Results = {}
        self.links: list[dict[str, Any]] = []
        self._told, self._cache, self._closed = OfLongWork(progress), cache or ModelCache(), False
        self._keeps_adapters = adapters
        self._current: ChainLink | None = None
        self._past: Past | None = None
        self._racing = list(range(len(config.lanes)))  # the lanes of the current link, or of the next one
        self._lanes = config.lanes

    def __iter__(self) -> Chain:
        """A chain is its own iterator: a second loop goes on where the first one stopped."""
        return self

    def __next__(self) -> ChainLink:
        """Return the next link, or the current one until it has ended.

        Raises:
            ValueError: the race cannot be set up.
        """
        if self._current is not None and self._current.race.status in (FINISHED, DIVERGED):
            self._end(self._current)
        if self._closed or (self._current is not None and self._current.race.status == STOPPED):
            raise StopIteration
        if self._current is None:
            if len(self.links) == len(self.tasks) or not self._racing:
                raise StopIteration
            self._current = self._begin(len(self.links) + 1)
        return self._current

    def __len__(self) -> int:
        """Return how many links are left."""
        return len(self.tasks) - len(self.links)

    def __repr__(self) -> str:
        """Return what races, and how far it is."""
        return f"<Chain on {self.config.model}: {', '.join(self.tasks)}; {len(self.links)} of {len(self.tasks)} ended>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Distinct labels of the lanes, in order."""
        return self.config.labels

    def racing(self, number: int) -> list[str]:
        """Return the labels of the lanes that race in a link, 0 for the first, in order."""
        return [label for label in self.labels if not number or label in self.links[number - 1]["lanes"]]

    def close(self) -> None:
        """Stop the current link, or what comes between two. A chain goes on from its folder, see `resume_chain`."""
        self._closed = True
        if self._current is not None:
            self._current.race.close()

    def release(self) -> None:
        """Close the chain, and release the model from the lanes of its current link."""
        self.close()
        if self._current is not None:
            self._current.race.lanes.detach()

    def frame(self) -> pd.DataFrame:
        """Return a row for each link, lane and task: the results on the task after the link.

        Columns: after (0 is the base model, whose lane is empty), lane, task, loss, accuracy.
        """
        import pandas as pd

        rows = [(0, "", task, *values.values()) for task, values in self.base.items()]
        for number, link in enumerate(self.links, 1):
            for label, lane in link["lanes"].items():
                rows += [(number, label, task, *values.values()) for task, values in lane["results"].items()]
        return pd.DataFrame(rows, columns=["after", "lane", "task", "loss", "accuracy"])

    def to_json(self) -> dict[str, Any]:
        """Return set-up and results as plain values."""
        return {
            "config": self.config.to_json(), "tasks": list(self.tasks), "objectives": list(self.objectives),
            "labels": list(self.labels), "base": self.base, "links": self.links,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: Path | None = None, **more: Any) -> Chain:
        """Read back what `to_json` wrote.

        Args:
            folder: of its runs; without it, the chain has its results and cannot go on.
            more: further arguments of the class.

        Raises:
            KeyError, TypeError or ValueError: the values have another form.
        """
        own = values.get("objectives", ())  # of an earlier version there are none
        chain = cls(RaceConfig.from_json(values["config"]), values["tasks"], folder, objectives=own, **more)
        chain.base, chain.links = values["base"], values["links"]
        chain._racing = [chain.labels.index(label) for label in chain.racing(len(chain.links))]
        return chain

    def _progress(self, part: float, words: str) -> None:
        if self._closed:
            raise StoppedEarlyError
        self._told(part, words)

    def _begin(self, number: int) -> ChainLink:
        """Set up a link, or open its run where it was begun before."""
        task, folder = self.tasks[number - 1], self.folder and self.folder / f"link-{number}"
        more: Any = {"progress": self._progress, "cache": self._cache, "adapters": self._keeps_adapters}
        if folder is not None and runs.has_begun(folder):
            run = runs.resume_run(folder, metric=self.config.metric, **more)
            self._lanes = run.race.config.lanes
            return ChainLink(number, task, run.race, run)
        if number > 1 and self._past is None:
            self._past = self._reread(number - 1)
        config = replace(self.config, task=task, objective=self.objectives[number - 1], lanes=self._lanes)
        if folder is None:
            return ChainLink(number, task, Race(config, progress=self._progress, cache=self._cache, past=self._past))
        if number == 1:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._save()
        shutil.rmtree(folder, ignore_errors=True)  # a kill may have left what is written before the set-up
        run = runs.start(config, folder, past=self._past, **more)
        return ChainLink(number, task, run.race, run)

    def _reread(self, number: int) -> Past:
        """Return what the lanes of a link that has ended leave behind, from its run."""
        with self._restored(number) as race:
            self._lanes = race.config.lanes
            return self._left(race)

    @contextmanager
    def _restored(self, number: int) -> Generator[Race]:
        """Restore the race of a link from its run."""
        assert self.folder is not None
        race = runs.restored(self.folder / f"link-{number}", progress=self._progress, cache=self._cache)
        try:
            yield race
        finally:
            race.lanes.detach()

    def at_end(self) -> tuple[Race, dict[str, OnTask]]:
        """Evaluate the lanes of the latest link that has ended on every task, with the test examples and by example.

        Returns:
            The race of that link, whose lanes are detached, and the results by task.
        """
        with self._restored(len(self.links)) as race:
            return race, {task: self._judged(race, task, test=True) for task in dict.fromkeys(self.tasks)}

    def _left(self, race: Race) -> Past:
        """Return the past of the lanes that race in the next link, and keep their numbers."""
        kept = [i for i, out in enumerate(race.state.out) if not out]
        self._lanes = tuple(race.config.lanes[i] for i in kept)
        return race.lanes.onward().of(kept)

    def _end(self, link: ChainLink) -> None:
        """Measure the lanes of a link that has ended, and merge them."""
        race = link.race
        if link.run is not None and not (link.run.folder / "summary.json").exists():
            for _ in link.run:  # its loop was left before the folder was complete
                pass
        race.close()
        lanes, out = race.lanes, race.state.out
        of_tasks = {task: self._judged(race, task) for task in dict.fromkeys(self.tasks)}
        self.base = {task: _cell(results.base, 0) for task, results in of_tasks.items()}
        moves = on_a_core(lanes.plan, lambda _: moved(lanes, out))
        of_text = race.final_forgotten._asdict() if race.final_forgotten else {}
        names = [self.labels[k] for k in self._racing]
        ended = {
            label: {
                "results": {task: _cell(results.lanes, i) for task, results in of_tasks.items()},
                "moved": {name: finite_or_none(values[i]) for name, values in moves.items()},
                **{name: finite_or_none(values[i]) for name, values in of_text.items()},
            }
            for i, label in enumerate(names)
            if not out[i]
        }
        past = self._left(race) if ended and len(self) > 1 else None
        with HeldInterrupt() as held:
            base = {"base_text_loss": race.text.loss} if race.text else {}
            self.links.append({"task": link.task, **base, "lanes": ended})
            self._racing = [k for k, gone in zip(self._racing, out, strict=True) if not gone]
            self._past, self._current = past, None
            lanes.detach()
            self._save()
        held.release()

    def _judged(self, race: Race, task: str, *, test: bool = False) -> OnTask:
        """Evaluate the base model and the lanes of a race on a task."""
        config, lanes = replace(race.config, task=task, objective=IMITATION), race.lanes
        data = RaceData(config, task_of(config), race.model, race.tokenizer, self._cache, model_name(config))
        footprint = Footprint.of(lanes.plan, branching=data.branching, lanes=lanes)
        data = Sizing.of(config, data, footprint, memory.pass_limit(lanes.plan.device)).data

        def both(part: bool) -> Tested:
            base = as_base(lanes, lambda _: data.evaluate_base(test=part), self._progress)
            results = judged(lanes, data, footprint, self._progress, test=part)
            results.lose(race.state.out)
            return Tested(base, results)

        return OnTask(data, *both(False), both(True) if test and data.test else None)

    def _save(self) -> None:
        """Write set-up and results so far into the folder."""
        if self.folder is not None:
            write_json(self.folder / CHAIN, {"format": FORMAT} | self.to_json())


def _cell(results: Evaluation, k: int) -> dict[str, float | None]:
    return {"loss": finite_or_none(results.loss[k]), "accuracy": finite_or_none(results.accuracy[k])}


@torch.no_grad()
def moved(lanes: Lanes, out: np.ndarray) -> dict[str, np.ndarray]:
    """Return how the lanes of a race that are not out have changed their bases, (K) each, see `Chain.links`."""
    K = lanes.count
    sums = {name: np.zeros(K) for name in ("base", "own", "all", "before", "product", "rank", "intruders", "layers")}
    shapes = [lanes.plan.weight(layer).shape for layer in lanes.layers]
    counts = sum(math.prod(shape) * min(shape) for shape in shapes) <= MOST_WORK
    for layer in lanes.layers:
        W = in_float64(lanes.plan.weight(layer))
        weight = Weight(W)  # which is decomposed once for all lanes
        for k in range(K):
            if out[k] or not lanes.plan.ranks[layer][k]:
                continue
            whole = lanes.merged_factors(layer, k)
            own, sigma = lanes.delta(layer, k), product_singular_values(whole.B, whole.A)
            before = None if lanes.past is None else lanes.past.update(layer, k)
            values = {
                "base": float(W.square().sum()), "own": float(in_float64(own).square().sum()),
                "all": float(in_float64(sigma).square().sum()), "layers": 1.0,
                "rank": float(effective_rank(in_float64(sigma))),
                "intruders": intruder_dimensions(weight, whole).count if counts else math.nan,
                "before": 0.0 if before is None else float(in_float64(before).square().sum()),
                "product": 0.0 if before is None else float((in_float64(own) * in_float64(before)).sum()),
            }  # fmt: skip
            for name, value in values.items():
                sums[name][k] += value
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = sums["product"] / np.sqrt(sums["own"] * sums["before"])
        return {
            "update": np.sqrt(sums["own"] / sums["base"]),
            "all_updates": np.sqrt(sums["all"] / sums["base"]),
            "effective_rank": sums["rank"] / sums["layers"],
            "angle": np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))),
            "intruders": sums["intruders"] / sums["layers"],
        }


def chain(
    config: RaceConfig,
    tasks: Sequence[str],
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    objectives: Sequence[str] = (),
    adapters: bool = True,
    cache: ModelCache | None = None,
) -> Chain:
    """Set up a chain of races: fine-tune on a task, merge, start again on the next one.

    Args:
        config: the set-up of each link; its steps or epochs are those of a link.
        tasks: two or more names or files of tasks, also as ``addition+uppercase``; one may come again.
        folder: new or empty; keeps the run of each link, from which `resume_chain` goes on bitwise.
        progress: called with the progress of work that takes long.
        objectives: what the lanes learn from in each link, such as ``("imitation", "reinforce")``; by default in all
            of them the set-up's. Every link is judged by the right answers.
        adapters: whether the runs in the folder keep their lanes' adapters, too.
        cache: of earlier races of this process.

    Raises:
        ValueError: fewer than two tasks; a start that needs data, which would have to be read anew by each lane's own
            base; test examples, which are of one task; an unknown task; a folder that is not empty.

    Examples:
        >>> import olora_viz as ov
        >>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_size=4)
        >>> chain = ov.chain(config, ["sentiment", "uppercase"])
        >>> for link in chain:
        ...     print(link.task, [step.step for step in link])
        sentiment [1, 2]
        uppercase [1, 2]
        >>> chain.frame().pivot(index=["after", "lane"], columns="task", values="loss").shape
        (5, 2)
    """
    expect(config, RaceConfig, "a RaceConfig, such as RaceConfig(model='glassllm')")
    tasks = list(links_of(tasks) if isinstance(tasks, str) else tasks)
    check_links(config, tasks, objectives)
    for task in dict.fromkeys(tasks):
        task_of(config.replace(task=task))
    place = None if folder is None else Path(folder)
    if place is not None and not is_free(place):
        raise ValueError(f"folder {str(place)!r} must be new or empty")
    return Chain(config, tasks, place, progress, objectives=objectives, adapters=adapters, cache=cache)


def check_links(config: RaceConfig, tasks: Sequence[str], objectives: Sequence[str] = ()) -> None:
    """Check that lanes can race on one task after the other, and learn from what each link names.

    Raises:
        ValueError: see `chain`.
    """
    if len(tasks) < 2:
        raise ValueError(f"a chain has two or more tasks, not {listed(map(repr, tasks)) or 'none'}")
    if not all(tasks):
        raise ValueError(
            f"the chain {THEN.join(tasks)!r} lacks a task: write as {THEN.join(('addition', 'uppercase'))}"
        )
    if config.test is not None:
        raise ValueError(f"test {config.test!r} has the examples of one task: a chain is judged on those held out")
    for init in dict.fromkeys(lane.init for lane in config.lanes):
        if INITIALIZERS[init].needs:
            raise ValueError(
                f"{init} starts from data that each lane's own base would have to read anew: it cannot be in a chain"
            )
    for lane, label in zip(config.lanes, config.labels, strict=True):
        if lane.start_from != BASE:
            raise ValueError(f"start_from={lane.start_from} is for one race: a chain has one base in four bits")
        if lane.rank_by:
            raise ValueError(
                f"rank_by={lane.rank_by} would give other ranks on each lane's own base: it cannot be in a chain"
            )
        if lane.dora:
            raise ValueError(f"lane {label!r} has dora: what it changes has no low rank, so it cannot be in a chain")
    if objectives and len(objectives) != len(tasks):
        raise ValueError(f"a chain of {len(tasks)} tasks has as many objectives or one, not {len(objectives)}")
    for objective in objectives:
        config.replace(objective=objective)


def is_chain(folder: Path) -> bool:
    """Whether a folder holds a chain."""
    return (folder / CHAIN).is_file()


def resume_chain(
    folder: str | Path, *, metric: Metric | None = None, progress: Progress | None = None, adapters: bool = True,
    cache: ModelCache | None = None,
) -> Chain:  # fmt: skip
    """Go on with a chain from its folder, bitwise as if it had not been interrupted; see `chain`.

    Args:
        metric: the function that the chain's metric is, if it is one: the folder has its name alone.

    Raises:
        ValueError: the folder holds no chain, or a damaged one, or one of another metric.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> config = ov.RaceConfig(lanes=(ov.Lane("olora"),), steps=2, eval_size=4)
        >>> with TemporaryDirectory() as folder:
        ...     first = next(ov.chain(config, ["sentiment", "uppercase"], folder=folder))
        ...     step = next(iter(first))
        ...     others = [(link.number, [step.step for step in link]) for link in ov.resume_chain(folder)]
        >>> others
        [(1, [2]), (2, [1, 2])]
    """
    folder = Path(folder)
    if not is_chain(folder):
        raise ValueError(f"{str(folder)!r} is not the folder of a chain: it has no {CHAIN}")
    values = read_json_object(folder / CHAIN)
    check_format(values, repr(str(folder / CHAIN)))
    try:
        resumed = Chain.from_json(values, folder, progress=progress, adapters=adapters, cache=cache)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(folder / CHAIN)!r} is not a chain: {error}") from None
    resumed.config = resumed.config.with_metric(metric)
    return resumed


@dataclass(frozen=True)
class Kept:
    """What the lanes of one method, which differ in their seed alone, have learned and kept at the end of a chain.

    Each is a tuple of one number per lane: nats a token, as differences and means of held-out losses.
    """

    lane: Lane
    """Any of them."""
    method: str
    learned: tuple[float, ...]
    """The mean over tasks of the loss right after the last link on the task."""
    forgotten: tuple[float, ...]
    """By how much the loss on the earlier tasks has risen since then, a mean."""
    ahead: tuple[float, ...]
    """By how much the loss on a task was above the base model's before its first link, a mean over later tasks."""
    at_end: tuple[float, ...]
    """The mean loss over all tasks after the last link, by which rates for a chain are chosen."""


def kept(chain: Chain) -> list[Kept]:
    """Return what each method has learned and kept, the lowest mean loss at the end first; empty before the end."""
    if len(chain) or not chain.links:
        return []
    last = {task: i for i, task in enumerate(chain.tasks)}
    first = {task: i for i, task in reversed([*enumerate(chain.tasks)])}
    rows: dict[Any, list[tuple[float, ...]]] = {}
    for lane, label in zip(chain.config.lanes, chain.labels, strict=True):
        if label not in chain.links[-1]["lanes"]:
            continue
        loss = partial(_result, chain, label, "loss")
        numbers = (
            np.mean([loss(i, task) for task, i in last.items()]),
            since(chain, label, "loss"),
            _mean(loss(i - 1, task) - float(chain.base[task]["loss"] or 0.0) for task, i in first.items() if i),
            np.mean([loss(len(chain.tasks) - 1, task) for task in last]),
        )
        rows.setdefault(lane.replace(seed=0), []).append(tuple(map(float, numbers)))
    names = labels(tuple(rows))
    methods = [
        Kept(lane, name, *zip(*of_lanes, strict=True))
        for name, (lane, of_lanes) in zip(names, rows.items(), strict=True)
    ]
    return sorted(methods, key=lambda method: np.mean(method.at_end))


def _result(chain: Chain, label: str, name: str, link: int, task: str) -> float:
    """Return the held-out loss or accuracy of a lane on a task after a link, 0 for the first."""
    return number_or_nan(chain.links[link]["lanes"][label]["results"][task][name])


def learned_from(chain: Chain) -> str:
    """Return which links learned from what other than right answers, as the end of a unit: "" if none did."""
    links, words = enumerate(chain.objectives, 1), BY_NAME["objective"].choices
    return "".join(f"; link {i} learned from {words[each]}" for i, each in links if each != IMITATION)


def since(chain: Chain, label: str, name: str) -> float:
    """Return by how much a lane's loss, or accuracy, on the earlier tasks has risen since their last links, a mean.

    It is NaN for a lane that has not come to the end.
    """
    last, end = {task: i for i, task in enumerate(chain.tasks)}, len(chain.tasks) - 1
    if len(chain) or label not in chain.links[-1]["lanes"]:
        return math.nan
    result = partial(_result, chain, label, name)
    return _mean(result(end, task) - result(i, task) for task, i in last.items() if i < end)


def _mean(values: Iterable[float]) -> float:
    """Return the mean of numbers, NaN of none."""
    values = [*values]
    return float(np.mean(values)) if values else math.nan


def sentences(methods: Sequence[Kept]) -> list[str]:
    """Say with which method a chain has kept most, and what that rests on; nothing of none.

    Args:
        methods: as `kept` returns them.
    """
    if not methods:
        return []
    best, most = methods[0], max(methods, key=lambda method: np.mean(method.forgotten))
    words, rise = [], np.mean(most.forgotten)
    if len(methods) > 1:
        words = [
            f"Lowest mean loss over all tasks at the end: {best.method}, {np.mean(best.at_end):.3g} nats a token."
        ]
    if len(methods) > 1 and np.isfinite(rise):  # else there is no earlier task
        words += [f"Forgot most: {most.method}, whose loss on the earlier tasks has risen by {rise:.3g}."]
    if min(len(method.at_end) for method in methods) < 3:
        words += ["With fewer than three seeds that is one run's result, not an order of methods."]
    return words
