"""How long a race takes on this machine, told from the speed of those before it.

A study times the very races that it plans, see `olora_viz.studies.budget`. A visitor changes the set-up key by key, so
a page counts what a race reads instead, in tokens, and scales the seconds of the latest race of its model by them.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import Forecast
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.process import cores
from olora_viz.measures.curvature import TRACKED
from olora_viz.models import MODELS
from olora_viz.models.loading import tokenizer_here
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.races.step import FINISHED, Step
from olora_viz.studies.budget import FAST
from olora_viz.studies.timing import TIMED_LANES, Timing
from olora_viz.tasks import TASKS, load_task
from olora_viz.tasks.hub import HUB

A_STEP, A_LANE = 60.0, 20.0
"""What a step takes beside its tokens, once and for each lane, as so many tokens: calls of operations, and updates.
Measured on glassllm; of larger models it is less."""

FORWARD = 0.42
"""What reading a token takes, relative to training on it; measured on glassllm."""

KEEP_TOKENS = 512
"""Tokens of a text to keep that are read at a time: at most 8 passages of 64."""

MOST_TOKENS = 512
"""The most tokens of an example that nothing is known of."""

CHARACTERS_PER_TOKEN = 2.0
"""Characters of a token where there is no tokenizer to ask: few, so that the estimate is rather too long."""

SAMPLE = 64
"""Examples whose tokens are counted."""

SMALLER = 0.8
"""A model of 1/n of the weights takes 1/n to this power of the time: small products are less efficient."""

TIMED = 4
"""Steps that are timed at the start of a server; the first warms up."""


SLOWEST = 2.25
"""How much longer than a first estimate a race may take: a few steps alone tell it, and nothing of answers, adapters
and of what else the machine will do. On two cores that a browser and others shared it was 2.1 times as long."""

USUAL = (0.8, 1.25)
"""How far later estimates are off at least, as factors."""

RECENT = 6
"""The latest works that say how far estimates are off."""


def watched(count: int) -> float:
    """Return how much longer a race takes that a browser on the same machine shows, by the number of its cores.

    The default race takes 22 seconds of a core, and drawing it 12 more.

    Examples:
        >>> watched(2), watched(8)
        (1.5, 1.125)
    """
    return 1 + 1 / count


class Reading(NamedTuple):
    """What is read of a task."""

    tokens: float
    """Of an example, the mean."""
    held_out: int = 0
    """Number of held-out examples, at most as many as are asked for."""
    test: int = 0
    train: int = 0
    """Number of training examples; 0 where nothing is known of them."""
    scored: bool = True
    """Whether answers are right or wrong, as none of a plain text is."""


class Speed(NamedTuple):
    """How fast the latest work of a kind was on a model."""

    beside: float
    """Seconds beside the steps: set-up, answers, files."""
    token: float
    """Seconds of a token that a lane trains on."""
    timed: bool = False
    """Whether a few steps tell it, which nobody watched, and no work that was done."""

    def of(self, tokens: float) -> float:
        """Return the seconds of work that takes so many tokens."""
        return self.beside + self.token * tokens


def trained(config: RaceConfig, reading: Reading, steps: int | None = None) -> float:
    """Return what the first steps of a race take, by default all, as a number of tokens that a lane trains on.

    Examples:
        >>> one = RaceConfig(steps=10)
        >>> round(trained(one, Reading(15, 64, 64), 4) / trained(one, Reading(15, 64, 64), 2), 3)
        2.0
    """
    lanes, steps = len(config.lanes), config.steps if steps is None else steps
    evaluations, texts, curvatures = (
        sum(config.is_due(key, number) for number in range(1, steps + 1))
        for key in ("eval_loss", "drift", "curvature")
    )
    step = A_STEP + lanes * (A_LANE + config.batch_size * reading.tokens * config.answers_read)
    read = evaluations * reading.held_out + (reading.test if steps == config.steps else 0)
    return step * (steps + TRACKED * curvatures) + FORWARD * lanes * (read * reading.tokens + KEEP_TOKENS * texts)


def relative(model: str, timed: str) -> float:
    """Return how much longer than on another model, which was timed, a token takes at most.

    Examples:
        >>> relative("smollm2-135m", "glassllm") > 100 > 1 / relative("glassllm", "smollm2-135m") > 50
        True
    """
    ratio = MODELS[model].parameters / MODELS[timed].parameters
    return max(ratio, ratio**SMALLER)


class Speeds:
    """The latest speeds of a server, by kind of work and model; any thread may ask."""

    def __init__(self) -> None:
        self._speeds: dict[tuple[type[BackgroundWork], str], Speed] = {}
        self._tokens: dict[tuple[str, str, bool, bool], float] = {}
        self._off: deque[float] = deque(maxlen=RECENT)
        """How much longer the latest works took than the one before them told, as factors."""
        self.timing = False
        """Whether a race is being timed, or about to be."""

    def learn(self, work: BackgroundWork) -> None:
        """Take over the speed of work that has reached its end here."""
        kind, config = type(work), work.config
        if work.state != FINISHED or not work.spent or config.model not in MODELS or config.device != "auto":
            return
        before = self._speeds.get((kind, config.model))
        if before is not None and not before.timed:
            self._off.append(work.spent / work.races / before.of(self._work(kind, work.raced)))
        work.teach(self)

    def learn_whole(self, work: BackgroundWork) -> None:
        """Take over the speed of work as a whole."""
        kind, config = type(work), work.config
        self._speeds[kind, config.model] = Speed(0.0, work.spent / work.races / self._work(kind, config))

    def learn_race(self, config: RaceConfig, steps: Sequence[Step], spent: float) -> None:
        """Take over the speed of a race.

        Args:
            spent: seconds that it took in all.
        """
        last = steps[-1]
        if not 0 < last.seconds <= spent:
            return  # it was computed elsewhere
        tokens = last.tokens / last.step / config.batch_size
        if config.task in TASKS:
            self._tokens[_read_as(config)] = tokens
        work = trained(config, self.reading(config)._replace(tokens=tokens), last.step)
        self._speeds[BackgroundRace, config.model] = Speed(spent - last.seconds, last.seconds / work)

    def time(self, config: RaceConfig, cache: ModelCache, hurry: Callable[[], bool] = lambda: False) -> None:
        """Time the first steps of a race, and forget it: nobody watches, so one that is watched takes longer.

        Args:
            cache: keeps what the next race on its model and task needs as well.
            hurry: whether to end at once, since somebody waits.
        """
        self.timing = True
        try:
            self._time(config, cache, hurry)
        finally:
            self.timing = False

    def _time(self, config: RaceConfig, cache: ModelCache, hurry: Callable[[], bool]) -> None:
        Race(config, cache=cache).lanes.detach()  # loads the model
        began = time.perf_counter()
        racing = Race(config, cache=cache)
        setup = time.perf_counter() - began
        steps: list[Step] = []
        try:
            while len(steps) < min(TIMED, config.steps) and not hurry():
                steps.append(next(racing))
        finally:
            racing.lanes.detach()
        if not steps:
            return
        self.learn_race(config, steps, setup + steps[-1].seconds)
        reading = self.reading(config)
        tokens = [
            (later.seconds - step.seconds)
            / (trained(config, reading, later.step) - trained(config, reading, step.step))
            for step, later in pairwise(steps)
        ]
        of_race = BackgroundRace, config.model
        fastest = min(tokens, default=self._speeds[of_race].token)  # the start of the server has delayed it least
        self._speeds[of_race] = Speed(setup, fastest, timed=True)

    def forecast(self, config: RaceConfig, kind: type[BackgroundWork] = BackgroundRace) -> Forecast | None:
        """Say how long work takes; None while nothing was timed.

        Where nothing was timed on its model, the estimate is the longest of those from other models.
        """
        if config.model not in MODELS:
            return None
        work = self._work(kind, config)
        of_races = {model: speed for model in MODELS if (speed := self._speeds.get((BackgroundRace, model)))}
        own = self._speeds.get((kind, config.model), of_races.get(config.model))  # a step takes as long as in a race
        if own is not None:
            return _told(own, own.of(work), self._off)
        others = [speed.of(work) * relative(config.model, model) for model, speed in of_races.items()]
        absent = tokenizer_here(config.model) is None
        return Forecast(max(others), sure=False, absent=absent) if others else None

    def reading(self, config: RaceConfig) -> Reading:
        """Return what a race reads of its task, without the network: an earlier race told, or a sample of it does."""
        sample = _sample(config.task, config.model, config.split_seed)
        tokens = min(self._tokens.get(_read_as(config), sample.tokens), config.max_length or math.inf)
        held_out, test = min(config.eval_size, sample.held_out), min(config.test_size, sample.test)
        return sample._replace(tokens=tokens, held_out=held_out, test=test)

    def timing_of(self, config: RaceConfig) -> Timing | None:
        """Return what a study would time of its races, but their memory; None where no race on the model was timed."""
        speed = self._speeds.get((BackgroundRace, config.model))
        if speed is None:
            return None
        reading = self.reading(config)
        token = speed.token * (watched(cores()) if speed.timed else 1.0)
        of_two, of_many = (
            token * (A_STEP / lanes + A_LANE + config.batch_size * reading.tokens) for lanes in (2, TIMED_LANES)
        )
        return Timing(
            setup=speed.beside, step=of_many if of_two < FAST else of_two, alone=2 * of_two,
            example=token * FORWARD * reading.tokens, data="", held_out=reading.held_out, test=reading.test,
            train=reading.train,
        )  # fmt: skip

    def _work(self, kind: type[BackgroundWork], config: RaceConfig) -> float:
        """Return what work takes, as a number of tokens that a lane trains on."""
        reading = self.reading(config)
        if kind.as_steps is None:
            return trained(config, reading)
        return kind.as_steps * (A_STEP + len(config.lanes) * (A_LANE + config.batch_size * reading.tokens))


def _told(speed: Speed, seconds: float, off: Collection[float]) -> Forecast:
    """Return how long something takes that takes so many seconds at a speed.

    Args:
        off: how much longer than told the latest works took, as factors.
    """
    if speed.timed:
        seen = seconds * watched(cores())
        return Forecast(seen, between=(seconds, SLOWEST * seen))
    factors = (*USUAL, *off)
    return Forecast(seconds, between=(min(factors) * seconds, max(factors) * seconds))


def _read_as(config: RaceConfig) -> tuple[str, str, bool, bool]:
    """Return what the tokens of an example depend on."""
    return config.model, config.task, config.chat, config.truncate


@lru_cache(maxsize=64)
def _sample(task: str, model: str, split_seed: int) -> Reading:
    """Count the examples of a task and the tokens of some; of a task from the hub, the most there may be."""
    most = Reading(min(MOST_TOKENS, MODELS[model].context), RaceConfig.test_size, RaceConfig.test_size)
    card = TASKS.get(task)
    if task.startswith(HUB) or (card is not None and not card.offline):
        return most
    try:
        examples = load_task(task, split_seed)
    except ValueError:  # the race will say what is wrong with it
        return most
    tokenizer = tokenizer_here(model)
    texts = [example.prompt + example.answer for example in examples.train[:SAMPLE]]
    counts = [len(tokenizer(text)["input_ids"]) if tokenizer else len(text) / CHARACTERS_PER_TOKEN for text in texts]
    tokens, parts = sum(counts) / max(1, len(counts)), (examples.held_out, examples.test, examples.train)
    return Reading(tokens, *map(len, parts), scored=not examples.plain_text)
