"""The set-up of a race: its fields, their defaults, schedules and checks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import BASE, Lane, check_count, labels, lanes_table
from olora_viz.lanes.schedule import Schedule, check_schedule, factor, plain
from olora_viz.machine.checks import check_whole, described, positive_number, suggesting, unknown
from olora_viz.machine.devices import DTYPES, check_device, dtype_name
from olora_viz.machine.tables import brief, call, changed, folded, table
from olora_viz.machine.wording import exact
from olora_viz.measures.catalogue import MEASURES, intervals_of_measures
from olora_viz.races.fields import BASES, DPO, FLOAT, IMITATION, OBJECTIVE_NAMES, ORDERS_OF_BATCHES, REINFORCE
from olora_viz.tasks.keep import AUTO, NONE, has_text
from olora_viz.tasks.metrics import Metric, check_metric, metric_name, plain_metric

STUDY = "study.toml"
"""The file with the set-up of a study, in a folder around its races."""

MOST_UNFOLDED = 8
"""The most lanes whose table is not folded."""


def config_html(config: RaceConfig) -> Markup:
    """Return the settings that differ from their defaults, the lanes, and all settings, folded."""
    rows = [(name, brief(value)) for name, value in changed(config).items() if name != "lanes"]
    every = [(each.name, brief(getattr(config, each.name))) for each in fields(config) if each.name != "lanes"]
    lanes = lanes_table(config.lanes)
    return Markup("").join(
        [
            table(["setting", "value"], rows, "RaceConfig") if rows else Markup("RaceConfig"),
            lanes if len(config.lanes) <= MOST_UNFOLDED else folded(f"{len(config.lanes)} lanes", lanes),
            folded("All settings", table(["setting", "value"], every)),
        ]
    )


DEFAULT_LANES = tuple(Lane(init, lr=1e-3, seed=seed) for init in ("lora", "olora", "pissa") for seed in range(3))
"""The default lanes of the page and the command line: three starts at one rate, each from three seeds."""


def start_key(lane: Lane) -> tuple[Any, ...]:
    """Return what the start of a lane depends on: not its rate, and its seed only if it is random.

    >>> start_key(Lane("olora", lr=1e-2, seed=1)) == start_key(Lane("olora"))
    True
    >>> start_key(Lane("lora", seed=1)) == start_key(Lane("lora"))
    False
    """
    seed = lane.seed if is_random(lane) else 0
    of_start = lane.init, lane.r, lane.scale, seed, lane.targets, lane.params
    return *of_start, lane.start_from, lane.iterations, lane.rank_by


def is_random(lane: Lane) -> bool:
    """Whether the start of a lane depends on its seed; taken for granted once it is unregistered."""
    return lane.init not in INITIALIZERS or INITIALIZERS[lane.init].random


ONE_LENGTH = "steps {steps} and epochs {epochs:g} both say how long it trains: give one"
"""Why a set-up with both is refused."""


@suggesting("setting")
@dataclass(frozen=True, repr=False)
class RaceConfig:
    """The set-up of a race: the same config gives the same steps on the same device.

    Args:
        model: name of a model, or the path of a local Hugging Face folder.
        task: name of a task, the path of a task file, or ``hf:owner/name`` for a data set of the hub.
        lanes: 1 to 64 contenders.
        steps: number of updates.
        epochs: how often all training examples are seen, > 0 and also below 1, in place of `steps`: the race that
            begins has the steps that they take, see `with_steps`.
        batch_size: prompts per step; all lanes see the same ones.
        max_length: the maximum length of an example in tokens; longer ones are skipped. If None, the limit is the
            model's context, and a longer example is an error.
        truncate: whether a longer example loses the first tokens of its prompt instead; its answer and special tokens
            stay. One that is longer even so is skipped.
        chat: whether the model's chat template formats prompt and answer, a message of the user and one of the
            assistant, whose end-of-turn token is supervised too.
        seed: seed of the order of the examples.
        rows: number of training examples; None for all of the training part. They are drawn by `split_seed`, nested:
            with the same seed, those of fewer rows are among those of more.
        split_seed: seed of the split into training, held-out and test examples, and of the examples of a task that
            generates them.
        eval_every: steps between evaluations; 0 evaluates after the last step only.
        spectra_every: steps between measurements of the spectra of all adapters; 0 disables them.
        curvature_every: steps between measurements of the curvature of every lane's loss, on the first batch; 0
            disables them. One costs up to about `measures.curvature.TRACKED` steps.
        gradients_every: steps between measurements of the norms of gradients, parameters and updates by layer, in
            addition to the first step; 0 disables them.
        factors_every: steps between pictures of A and B, of some lanes and layers; 0 takes none.
        eval_size: maximum number of held-out examples to evaluate on.
        device: ``auto`` (an accelerator if there is one), ``cpu``, or one of torch's accelerators, such as ``cuda:1``.
        dtype: of the frozen base: ``auto`` (bfloat16 on CUDA, float32 on a CPU), ``float32``, ``bfloat16`` or
            ``float64``. Adapters and optimizer use float32 or better.
        schedule: of the learning rates after the warm-up: ``constant``, ``linear`` or ``cosine``; in Python also a
            function ``f(step, steps)`` that returns the factor of the rates, for ``step`` from 1 to ``steps``. A
            function cannot be saved in a run folder or JSON.
        warmup: steps over which the learning rates rise to their peak; as `schedule`, of the lanes without their own.
        targets: target modules of the lanes without their own: suffixes of their names, with the wildcards ``*``,
            ``?`` and ``[…]``, or the families ``attention`` and ``mlp``; None, as ``all``, for all linear layers in
            the blocks. Experts that are 3-D parameters are adapted if
            a target names them, such as ``experts.down_proj``.
        batches: ``shared``, or ``by-seed``: a lane of seed s sees the examples in the order of seed ``seed + s``.
            Lanes of one seed still share their batches, so that starts are compared in pairs, and deterministic starts
            can be repeated. ``auto`` is ``by-seed`` if a deterministic start races with several seeds, which would all
            be the same run on shared batches. Measurements and calibration on the first batches always use those of
            seed 0.
        test: path of a task file with test examples, on which the finished lanes are evaluated once. The task's own
            test part is then used for training.
        test_size: maximum number of test examples to evaluate on.
        accumulate: number of parts of the batch over which the gradient of a step is accumulated: the same up to
            rounding, in less memory. A race takes more parts if a pass would not fit into memory otherwise, see
            `in_parts`. Measurements on the first batch read it in one pass.
        keep_best: whether a lane's adapter, once the race has ended, is that of the evaluation with its lowest
            held-out loss, for answers, export and the test; else that of its last step.
        keep: what should not be lost: the path of a text file, of which up to 8 passages of 64 tokens are measured, or
            of a task file or the name of a task, of which the answers of up to 64 examples are. ``auto`` is a text
            of the package, for glassllm and SmolLM2, and for other models nothing; ``none`` measures nothing. Of a
            text file the first 200,000 characters are read.
        patience: evaluations without a lower held-out loss after which a lane stops training, with the status
            ``stopped early``; 0 for never. The other lanes go on, bitwise as without it.
        forget: by how many nats per token the loss on the text to keep may rise: for `keep_best` and `patience` only
            evaluations within this limit count, and the start, which has forgotten nothing. None for any number.
        metric: of the answers that the base model and the lanes generate to the test examples at the end: ``exact``,
            ``first-word``, ``number``, ``number:0.01`` within a hundredth, ``f1`` over entities, ``chrf``; ``auto``
            is that of the task, if it has one; ``none``. In Python also a function ``f(answer, right)`` that returns
            a number from 0 to 1, of which a run folder keeps the name, ``python:f``. Training is the same with any,
            but for the objective ``reinforce``, whose reward it is.
        objective: what lanes learn from: ``imitation``, right answers; ``dpo``, preferences of right answers over
            wrong ones, which are an example's choices or the answers to others; ``reinforce``, rewards of answers that
            the lanes draw. See `Preferences` and `Rewards`.
        samples: answers that a lane draws to each prompt of a step, at least 2, with ``reinforce``.
        base: ``float``, or ``nf4``: all linear layers but the head keep their frozen weights in four bits, with double
            quantization, and compute them anew, in `dtype`, each time they are read. Starts read these too, unless a
            lane says otherwise, see `Lane.start_from`.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora"), ov.Lane("olora", lr=3e-3)
        >>> config = ov.RaceConfig(lanes=lanes, steps=2)
        >>> config
        RaceConfig(lanes=(Lane('lora'), Lane('olora'), Lane('olora', lr=0.003)), steps=2)
        >>> config.labels
        ('lora', 'olora@lr=1e-3', 'olora@lr=3e-3')
    """

    model: str = "glassllm"
    task: str = "sentiment"
    lanes: tuple[Lane, ...] = DEFAULT_LANES
    steps: int = 60
    batch_size: int = 16
    max_length: int | None = None
    seed: int = 0
    eval_every: int = 5
    spectra_every: int = 0
    curvature_every: int = 0
    gradients_every: int = 0
    factors_every: int = 0
    eval_size: int = 64
    device: str = "auto"
    dtype: str = "auto"
    schedule: Schedule = "constant"
    warmup: int = 0
    targets: tuple[str, ...] | None = None
    batches: str = "auto"
    split_seed: int = 0
    test: str | None = None
    test_size: int = 1000
    accumulate: int = 1
    keep_best: bool = False
    patience: int = 0
    truncate: bool = False
    chat: bool = False
    keep: str = AUTO
    forget: float | None = None
    rows: int | None = None
    epochs: float | None = None
    metric: Metric = AUTO
    objective: str = IMITATION
    samples: int = 8
    base: str = FLOAT

    def __post_init__(self) -> None:
        """Check every value, alone and in combination."""
        lanes = tuple(self.lanes) if isinstance(self.lanes, Iterable) else (None,)
        if not all(isinstance(lane, Lane) for lane in lanes):
            raise ValueError(f"lanes must be a sequence of Lane, not {self.lanes!r}")
        object.__setattr__(self, "lanes", lanes)
        if isinstance(self.task, Path):
            object.__setattr__(self, "task", str(self.task))
        if not isinstance(self.task, str):
            raise ValueError(
                f"task must be the name of a task or the path of a file, not {described(self.task)}: "
                "pass rows of your own as ov.race(config, task=…), and to a study as a .jsonl file"
            )
        if isinstance(self.targets, str):
            raise ValueError(f"targets must be a sequence of names, not the string {self.targets!r}")
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(self.targets))
        check_count(len(self.lanes))
        labels(self.lanes)
        for name, least in (
            ("steps", 1), ("batch_size", 1), ("seed", 0), ("split_seed", 0), ("warmup", 0),
            ("eval_size", 1), ("test_size", 1), ("samples", 2), ("accumulate", 1), ("patience", 0),
            *((interval, 0) for interval in intervals_of_measures()),
        ):  # fmt: skip
            check_whole(name, getattr(self, name), least)
        for name, least in (("max_length", 2), ("rows", 1)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least)
        for name, allowed in (
            ("dtype", ("auto", *DTYPES)), ("batches", ORDERS_OF_BATCHES), ("objective", OBJECTIVE_NAMES),
            ("base", BASES),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ValueError(unknown(name, str(getattr(self, name)), allowed))
        check_device(self.device)
        check_metric(self.metric)
        for name in ("keep_best", "truncate", "chat"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if not isinstance(self.keep, str) or not self.keep:
            raise ValueError(
                f"keep must be {AUTO}, {NONE}, the name of a task or the path of a file, not {self.keep!r}"
            )
        wants_text = [f"{lane.replay_words} needs" for lane in self.lanes if lane.replays]
        if self.forget is not None:
            object.__setattr__(self, "forget", positive_number("forget, in nats,", self.forget, zero=True))
            wants_text.insert(0, f"forget {self.forget:g} limits what may be lost of")
        if wants_text and not self.keeps_text:
            raise ValueError(
                f"{wants_text[0]} a text to keep: set keep to a file, the name of a task or, for models that the "
                f"package has a text for, {AUTO}"
            )
        if self.objective != RaceConfig.objective and any(lane.fair for lane in self.lanes):
            raise ValueError(f"a fair rate is for learning from right answers, not for the objective {self.objective}")
        for lane in self.lanes:
            if self.base == FLOAT and lane.start_from != BASE:
                raise ValueError(f"start_from={lane.start_from} is for a base in four bits: set base to nf4")
            if self.base != FLOAT and lane.start_from == BASE and lane.init == "loftq":
                raise ValueError("loftq starts from what four bits lose of the full weights: add start_from=residual")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate {self.accumulate} exceeds the {self.batch_size} prompts of a step")
        if self.epochs is not None:
            object.__setattr__(self, "epochs", positive_number("epochs", self.epochs))
            if self.steps != RaceConfig.steps:
                raise ValueError(ONE_LENGTH.format(steps=self.steps, epochs=self.epochs))
            return  # what depends on the number of steps is checked once it is known
        for warmup in (self.warmup, *(lane.warmup for lane in self.lanes if isinstance(lane.warmup, int))):
            if warmup >= self.steps:
                raise ValueError(f"warmup {warmup} must be shorter than the {self.steps} steps")
        for schedule, warmup in dict.fromkeys([(self.schedule, self.warmup), *map(self.schedule_of, self.lanes)]):
            check_schedule(schedule, self.steps, warmup)

    def __repr__(self) -> str:
        """Return the call that makes it, without default values."""
        return call(self, **changed(self))

    def _repr_html_(self) -> str:
        return config_html(self)

    @property
    def labels(self) -> tuple[str, ...]:
        """Distinct labels of the lanes, in order."""
        return labels(self.lanes)

    def dtype_on(self, device: str) -> str:
        """Return the dtype of the frozen base on a device, ``CPU`` or ``cuda:0``; empty stands for the set-up's.

        Examples:
            >>> RaceConfig().dtype_on("CPU"), RaceConfig(dtype="bfloat16").dtype_on("")
            ('float32', 'bfloat16')
        """
        kind = re.split("[:,]", (device or self.device).lower())[0]
        return dtype_name(self.dtype, "cpu" if kind == "auto" else kind)

    @property
    def follows_best(self) -> bool:
        """Whether the race follows when each lane was best."""
        return self.keep_best or self.patience > 0

    @property
    def keeps_text(self) -> bool:
        """Whether the race measures what its lanes forget."""
        return has_text(self.keep, self.model)

    def replace(self, **settings: Any) -> RaceConfig:
        """Return the set-up with some settings replaced; steps take the place of epochs, and epochs that of steps.

        Examples:
            >>> import olora_viz as ov
            >>> ov.RaceConfig(task="addition", steps=100).replace(epochs=2)
            RaceConfig(task='addition', epochs=2.0)
        """
        if settings.get("epochs") is not None:
            settings.setdefault("steps", RaceConfig.steps)
        elif "steps" in settings:
            settings.setdefault("epochs", None)
        return replace(self, **settings)

    def with_steps(self, examples: int) -> RaceConfig:
        """Return the set-up with the number of steps in place of `epochs`, given that of the training examples.

        A lane whose own warm-up has as many steps or more does not come to its peak.

        Raises:
            ValueError: the warm-up or the schedule does not fit the steps.

        Examples:
            >>> RaceConfig(epochs=2, batch_size=16).with_steps(100)
            RaceConfig(steps=13)
        """
        if self.epochs is None:
            return self
        steps = math.ceil(self.epochs * examples / self.batch_size)
        # As a share of the steps, which may exceed 1; half a step less, since it is rounded up.
        lanes = tuple(
            lane.replace(warmup=(lane.warmup - 0.5) / steps)
            if type(lane.warmup) is int and lane.warmup >= steps
            else lane
            for lane in self.lanes
        )
        return self.replace(steps=steps, lanes=lanes)

    @property
    def answers_read(self) -> int:
        """How many answers to a prompt a step reads: a right one, a pair, or those that a lane draws."""
        return {IMITATION: 1, DPO: 2, REINFORCE: self.samples}[self.objective]

    @property
    def prompts_in_pass(self) -> int:
        """Maximum prompts that are read in one pass."""
        return math.ceil(self.batch_size / self.accumulate)

    def order(self, lane: Lane) -> int:
        """Return the seed of the order in which a lane sees the examples.

        Examples:
            >>> import olora_viz as ov
            >>> lane = ov.Lane("lora", seed=2)
            >>> shared = ov.RaceConfig(lanes=(lane,), seed=5, batches="shared")
            >>> by_seed = ov.RaceConfig(lanes=(lane,), seed=5, batches="by-seed")
            >>> shared.order(lane), by_seed.order(lane)
            (5, 7)
        """
        return self.seed + (lane.seed if self.by_seed else 0)

    @property
    def by_seed(self) -> bool:
        """Whether lanes of different seeds train on different batches.

        Examples:
            >>> import olora_viz as ov
            >>> ov.RaceConfig(lanes=(ov.Lane("olora"), ov.Lane("olora", seed=1))).by_seed
            True
            >>> ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("lora", seed=1))).by_seed
            False
        """
        if self.batches != "auto":
            return self.batches == "by-seed"
        repeated = (
            {replace(other, seed=0, label=None) for other in self.lanes if other.seed != lane.seed}
            & {replace(lane, seed=0, label=None)}
            for lane in self.lanes
            if lane.init not in INITIALIZERS or not is_random(lane)
        )
        return any(repeated)

    def rates(self, number: int) -> np.ndarray:
        """Return each lane's learning rate (K,) at a step, 1 for the first: warm-up, then schedule.

        Examples:
            >>> import olora_viz as ov
            >>> lanes = ov.Lane("lora", lr=1.0), ov.Lane("olora", lr=0.1)
            >>> config = ov.RaceConfig(lanes=lanes, steps=4, warmup=2, schedule="linear")
            >>> config.rates(4)
            array([0.5 , 0.05])
        """
        rates = []
        for lane in self.lanes:
            schedule, warmup = self.schedule_of(lane)
            rising = number <= warmup
            rates.append(
                lane.lr * number / warmup if rising else lane.lr * factor(schedule, number, self.steps, warmup)
            )
        return np.array(rates)

    def schedule_of(self, lane: Lane) -> tuple[Schedule, int]:
        """Return the schedule of a lane and the steps of its warm-up: its own ones, or those of the race.

        Examples:
            >>> RaceConfig(schedule="linear", warmup=5).schedule_of(Lane("lora", schedule="cosine"))
            ('cosine', 5)
            >>> RaceConfig(steps=25).schedule_of(Lane("lora", warmup=0.1))
            ('constant', 3)
        """
        warmup = self.warmup if lane.warmup is None else lane.warmup
        steps = math.ceil(warmup * self.steps) if isinstance(warmup, float) else warmup
        return self.schedule if lane.schedule is None else lane.schedule, steps

    @property
    def schedules(self) -> set[tuple[Schedule, int]]:
        """The schedules of the lanes and the steps of their warm-ups, see `schedule_of`."""
        return set(map(self.schedule_of, self.lanes))

    def is_due(self, key: str, number: int, steps: float | None = None) -> bool:
        """Whether a measurement of `MEASURES` is due at a step, 1 for the first.

        Args:
            steps: the number of steps, if it is another one.
        """
        measure = MEASURES[key]
        if measure.of_text and not self.keeps_text:
            return False
        if measure.objective not in ("", self.objective):
            return False
        last = self.steps if steps is None else steps
        if measure.every is None or (measure.at_last and number == last):
            return True
        every: int = getattr(self, measure.every)
        # Where the best evaluation counts, each says what it has forgotten.
        every *= 1 if self.follows_best else math.ceil(measure.apart / max(1, every))
        return every > 0 and (number % every == 0 or (measure.at_first and number == 1))

    def of_starts(self) -> RaceConfig:
        """Return the set-up with one lane per start, see `start_key`.

        Examples:
            >>> import olora_viz as ov
            >>> lanes = ov.Lane("lora"), ov.Lane("lora", lr=1e-2), ov.Lane("lora", r=4)
            >>> ov.RaceConfig(lanes=lanes).of_starts().labels
            ('lora@r=8', 'lora@r=4')
        """
        return replace(self, lanes=tuple(lanes[0] for lanes in self.starts()))

    def starts(self) -> list[list[Lane]]:
        """Group the lanes by their start, see `start_key`."""
        groups: dict[tuple[Any, ...], list[Lane]] = {}
        for lane in self.lanes:
            groups.setdefault(start_key(lane), []).append(lane)
        return list(groups.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as in a run's ``config.json``.

        Raises:
            ValueError: the schedule is a function.
        """
        return asdict(self) | {"schedule": plain(self.schedule), "metric": plain_metric(self.metric)}

    def with_metric(self, metric: Metric | None) -> RaceConfig:
        """Return the set-up with the function of which its metric is the name, see `plain_metric`.

        Args:
            metric: None leaves the name.

        Raises:
            ValueError: it is another metric.
        """
        if metric is not None and plain_metric(metric) != self.metric:
            raise ValueError(f"what has begun keeps its metric, {self.metric!r}: it is not {plain_metric(metric)!r}")
        return self if metric is None else replace(self, metric=metric)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RaceConfig:
        """Read back what `to_json` wrote; without a text to keep if it was written before there were any."""
        settings = _targets_read(values)
        settings.setdefault("keep", NONE)
        settings["lanes"] = tuple(Lane(**_targets_read(lane)) for lane in values["lanes"])
        return cls(**settings)


def _targets_read(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of JSON with targets as a tuple, which is a list in JSON."""
    targets = values.get("targets")
    return {**values, "targets": tuple(targets)} if isinstance(targets, list) else dict(values)


KEPT = (NONE, AUTO)
"""The texts to keep that a page offers beside a visitor's own."""


@dataclass(frozen=True)
class Settings:
    """The settings, with the names that they have in links and, where it has them, in `RaceConfig`.

    The defaults are those of a page, see `RaceConfig` for what they mean.
    """

    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    """Of every lane, as `clip`."""
    clip: float | None = None
    targets: tuple[str, ...] | None = None
    """None for all linear layers of the blocks."""
    eval_every: int | None = None
    """None for `automatic_interval`."""
    batches: str = "by-seed"
    eval_size: int = RaceConfig.eval_size
    keep_best: bool = False
    patience: int | None = None
    """None for lanes that never stop early."""
    truncate: bool = False
    chat: bool = False
    rows: int | None = None
    """None for all training examples."""
    keep: str = AUTO
    """`NONE`, `AUTO`, or what stands for a visitor's own text: a page reads no other one."""
    metric: str = AUTO
    objective: str = RaceConfig.objective
    samples: int = RaceConfig.samples
    base: str = RaceConfig.base

    @classmethod
    def of(cls, config: RaceConfig) -> Settings:
        """Return the settings of a race.

        Batches that ``auto`` makes those of each seed, or of one seed, are ``by-seed``. Where lanes differ in weight
        decay or clipping, these are the defaults, as each lane says its own.

        Raises:
            ValueError: the schedule is a function, or there is a limit on what is forgotten.
        """
        if config.forget is not None:
            raise ValueError(f"a page has no limit on what lanes forget, as this race, {config.forget:g} nats")
        if config.epochs is not None:
            raise ValueError(f"a page has no epochs, as this race, {config.epochs:g}")
        if not isinstance(config.schedule, str):
            raise ValueError("a schedule that is a Python function cannot be shown on the page")
        decays = {(lane.weight_decay, lane.clip) for lane in config.lanes}
        weight_decay, clip = decays.pop() if len(decays) == 1 else (cls.weight_decay, cls.clip)
        every, seeds = config.eval_every, {lane.seed for lane in config.lanes}
        automatic = config.batches == "auto" and (config.by_seed or seeds == {0})
        return cls(
            config.schedule, config.warmup, weight_decay, clip, config.targets,
            None if every == automatic_interval(config.steps) else every,
            cls.batches if automatic else config.batches, config.eval_size,
            config.keep_best, config.patience or None, config.truncate, config.chat, config.rows, config.keep,
            plain_metric(config.metric), config.objective, config.samples, config.base,
        )  # fmt: skip

    def values(self) -> dict[str, str]:
        """Return the settings as text by name, "" for None.

        >>> Settings(warmup=5, targets=("q_proj", "v_proj")).values()["targets"]
        'q_proj,v_proj'
        """
        return {field.name: setting_text(getattr(self, field.name)) for field in fields(self)}

    def changed(self) -> dict[str, str]:
        """Return those of the `values` that are not the default.

        >>> Settings(warmup=5, clip=0.5).changed()
        {'warmup': '5', 'clip': '0.5'}
        """
        plain = Settings().values()
        return {name: text for name, text in self.values().items() if text != plain[name]}

    def of_lane(self) -> dict[str, Any]:
        """Return the fields of every lane."""
        return {"weight_decay": self.weight_decay, "clip": self.clip}

    def of_race(self, steps: int) -> dict[str, Any]:
        """Return the fields of a race of so many steps."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in self.of_lane()}
        return values | {"eval_every": self.eval_every or automatic_interval(steps), "patience": self.patience or 0}


NAMES_OF_SETTINGS = tuple(field.name for field in fields(Settings))


def automatic_interval(steps: int) -> int:
    """Return the steps between two evaluations where the page sets none.

    >>> automatic_interval(60), automatic_interval(2000)
    (5, 20)
    """
    return max(1, min(5, steps // 5), math.ceil(steps / 100))


def setting_text(value: Any) -> str:
    """Return a setting as it is typed, "" for None; a schedule or a metric that is a function by its name.

    >>> [setting_text(value) for value in (None, True, 0.5, ("q_proj", "v_proj"))]
    ['', '1', '0.5', 'q_proj,v_proj']
    """
    if callable(value):
        return metric_name(value)
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else exact(value) if isinstance(value, float) else str(value)


def setup_facts(config: RaceConfig) -> dict[str, Any]:
    """Return the set-up of a race as reports and cards name it: label and value.

    The settings of single lanes are left out, and so are those that are as usual, from ``adapters`` on.
    """
    facts: dict[str, Any] = {
        "model": config.model,
        "task": config.task,
        "steps": config.steps,
        "prompts per step": config.batch_size,
        "seed": config.seed,
        "schedule": getattr(config.schedule, "__name__", config.schedule),
        "warm-up": config.warmup,
        "precision": config.dtype,
        "batches": config.batches,
        "target modules": ", ".join(config.targets or ("all linear layers",)),
    }
    if config.base != FLOAT:
        facts["base"] = f"{config.base} with double quantization"
    if config.rows is not None:
        facts["training examples"] = config.rows
    if config.keeps_text:
        facts["text to keep"] = "of the package" if config.keep == AUTO else Path(config.keep).name
    if config.forget is not None:
        facts["limit"] = f"a loss on the text to keep up to {config.forget:g} nats higher"
    if config.keep_best:
        facts["adapters"] = "of each lane's lowest held-out loss"
    if config.patience:
        facts["early stop"] = f"after {config.patience} evaluations without a lower loss"
    if config.metric not in (AUTO, NONE):
        facts["metric"] = metric_name(config.metric)
    if config.objective != RaceConfig.objective:
        facts["objective"] = config.objective
    if config.objective == REINFORCE:
        facts["answers per prompt"] = config.samples
    if config.chat:
        facts["prompts"] = "in the model's chat template"
    if config.truncate:
        facts["long examples"] = "cut at the left of their prompt"
    return facts
