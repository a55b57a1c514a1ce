"""A lesson: its text, its recorded race, and its example; and guides that drive the page, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.learn.gallery import RECORDED_ID, Recording, load_recording
from olora_viz.machine.wording import nats, percent
from olora_viz.races.config import RaceConfig
from olora_viz.studies.contest import Contest, contests_of, latest_examples, metric_of
from olora_viz.studies.sentences import Basis, at_shared_rates, statement_of
from olora_viz.studies.story import Point, describe_rates, rate_curves

Kind = Literal["pressed", "value", "hidden", "step", "ended", "bet"]
"""What can be waited for: a press; the value of a control; a lane hidden or shown; a step of the race in view; its
end; a bet."""


@dataclass(frozen=True)
class Awaited:
    """What a step waits for, however it is done: by mouse, touch, keyboard or shortcut."""

    kind: Kind
    words: str
    """What it is, after "waiting:"."""
    of: str = ""
    """CSS selector of what is pressed, or has the value."""
    low: float = 0.0
    """The least value; of a step its share of the race, from 0 to 1."""
    high: float = 1.0

    def __post_init__(self) -> None:
        """Check that it can come true."""
        if self.low > self.high:
            raise ValueError(f"low must be at most high: {self.low:g} > {self.high:g}")
        if (self.kind in ("pressed", "value")) != bool(self.of):
            raise ValueError(f"a selector belongs to pressed and value, not to {self.kind} with {self.of!r}")


@dataclass(frozen=True)
class GuideStep:
    """A step; names of initializations in braces, as ``{olora}``, are shown as those of lanes."""

    says: str
    do: str
    waits: Awaited | None = None
    """None where there is only something to read."""
    then: str = ""
    """What is said when it was done; empty goes on at once."""
    where: str = ""
    """Id of the element that is framed; its tab is opened."""
    page: str = "race"
    hides: bool = False
    """Whether verdict, ranking and story are hidden until it is done."""
    opens: Literal["", "clear", "rewind"] = ""
    """What it begins with: an ended race is cleared away, or shown from step 0."""


@dataclass(frozen=True)
class Guide:
    """Steps with a title."""

    name: str
    """The name in links: ``?guide=NAME&at=N``."""
    title: str
    steps: tuple[GuideStep, ...]


def bet_on(says: str, opens: Literal["clear", "rewind"]) -> GuideStep:
    """Return the step that asks for a bet, of which the next steps hide the result as well."""
    do, waits = "Place your bet on who is ahead in the end.", Awaited("bet", "a bet")
    return GuideStep(says, do, waits, where="bet-card", hides=True, opens=opens)


FIRST_GUIDE = Guide(
    "first",
    "Two minutes: what is this?",
    (
        GuideStep(
            "Each curve is a small adapter that learns to tell happy from sad: two matrices, B and A. {lora} starts "
            "with B = 0; {olora} starts with the QR factors of a weight of the model, {pissa} with its largest "
            "singular values.",
            "Drag the slider below the chart to the far left.",
            Awaited("step", "step 0", high=0.0),
            "At step 0 all curves stand at one point: no start changes what the model says before it is trained.",
            where="scrubber-card",
            opens="",
        ),
        bet_on(
            "All of them get the same sentences in the same order, at one learning rate: only the start differs.",
            opens="clear",
        ),
        GuideStep(
            "Now they train, side by side, on one small model that all of them share.",
            "Press Race.",
            Awaited("pressed", "Race", of="#race-button"),
            where="race-button",
            hides=True,
        ),
        GuideStep(
            "The thin flat line is what guessing gets: a curve above it has learned something.",
            "Watch the curves until the race has ended.",
            Awaited("ended", "the end of the race"),
            "The race is over. Above the chart stand the verdict and, if you have bet, how your bet ended.",
            where="accuracy-card",
            hides=True,
        ),
        GuideStep(
            "The end alone does not tell who learned faster.",
            "Drag the slider back to the first half of the race.",
            Awaited("step", "a step of the first half", low=0.05, high=0.5),
            "The verdict now speaks of the race up to here: who is ahead may change on the way.",
            where="scrubber-card",
        ),
        GuideStep(
            "The verdict says who is ahead, and beside it how sure that is: with few seeds it could be luck.",
            "Open Learn for the lessons, or Decide to find a start for your own data.",
            Awaited("pressed", "Learn or Decide", of="a[href='#learn'], a[href='#decide']"),
            where="verdict-card",
        ),
    ),
)
"""The guide of a first visit."""

FIRST_ON_GPU = replace(
    FIRST_GUIDE,
    steps=(
        replace(
            FIRST_GUIDE.steps[0],
            says=FIRST_GUIDE.steps[0].says.replace("tell happy from sad", "add numbers written as words"),
        ),
        *FIRST_GUIDE.steps[1:3],
        replace(
            FIRST_GUIDE.steps[3], says="A curve that rises gives more right answers to sums that it has never seen."
        ),
        *FIRST_GUIDE.steps[4:],
    ),
)
"""The same where the first race is that of SmolLM2, on a server with a GPU."""


Page = Literal["race", "spectrum", "conditioning", "learn"]
Picture = Literal["loss", "rates", "curvature", "forgotten", "reward", "spectrum", "qr", "chain"]


class Choice(NamedTuple):
    """An answer to choose."""

    text: str
    why: str = ""
    """Why it is wrong; empty of the right one, which the lesson's answer explains."""


@dataclass(frozen=True)
class Lesson:
    """A text, one thing to do, one thing to see, and a question that checks the idea.

    Formulas in sentences are LaTeX between dollar signs. Every number in a sentence is read from the recorded race, or
    computed, when the lesson is built.
    """

    name: str
    """The name in URLs."""
    title: str
    minutes: int
    idea: str
    paragraphs: tuple[str, ...]
    formulas: tuple[str, ...]
    """In LaTeX, displayed after the first paragraph."""
    do: str
    """One thing to do on the page that the lesson opens."""
    see: str
    ask: str
    """A question that checks whether the idea has been understood."""
    choices: tuple[Choice, ...]
    """Three answers, one of them right."""
    answer: str
    """The right answer, and why."""
    recording: str | None = None
    page: Page = "race"
    where: str = ""
    """Id of the element to use or observe there."""
    picture: Picture = "loss"
    """The picture next to the text, see `olora_viz.learn.pictures`."""
    waits: Awaited | None = None
    """How it is seen that the thing to do was done; None if only a look can do it."""
    outcome: tuple[int, ...] = ()
    """The paragraphs, from 0, that tell how its race ended: they are hidden until the bet is placed."""
    by_hand: GuideStep | None = None
    """What is to be done with what the reader changes by hand, see `olora_viz.learn.pictures`."""
    plays: tuple[GuideStep, ...] = ()
    """The steps of its guide before the question; empty for a bet on its race, and what to do and see."""

    @property
    def lettered(self) -> dict[str, str]:
        """The answers to choose from by their letters."""
        return {letter: choice.text for letter, choice in zip("ABC", self.choices, strict=True)}

    @property
    def right(self) -> str:
        """The letter of the right one."""
        return next(letter for letter, choice in zip("ABC", self.choices, strict=True) if not choice.why)

    @property
    def race(self) -> str | None:
        """The id of the recorded race on the page."""
        return f"{RECORDED_ID}{self.recording}" if self.recording else None

    @property
    def config(self) -> RaceConfig | None:
        """The set-up to run the race again."""
        return load_recording(self.recording).config if self.recording else None

    @property
    def guide(self) -> Guide:
        """Its steps: what it plays, or a bet on its race, and what to do and see, also by hand; the question."""
        if self.plays:
            steps = (*self.plays, replace(CHECK, says=self.idea))
            return Guide(self.name, self.title, steps)
        where, page = self.where or "lesson-rank", self.page
        bet = BET_FIRST if self.recording and page == "race" else ()
        do = GuideStep("", self.do, self.waits, self.see if self.waits else "", where=where, page=page)
        if self.waits is None:
            do = replace(do, says=self.see)
        check = replace(CHECK, says=self.idea, page="" if bet else page)
        hand = () if self.by_hand is None else (replace(self.by_hand, where="lesson-hand", page="learn"),)
        return Guide(self.name, self.title, (*bet, do, *hand, check))


END = Awaited("step", "the last step", low=1.0)
"""The end of a recorded race."""

BET_FIRST = (
    bet_on("A recorded race is about to begin: nobody has learned anything yet.", opens="rewind"),
    GuideStep(
        "Now see it learn, step by step.",
        "Press ▶ below the chart, or drag the slider beside it to the end.",
        END,
        "Above the chart stand who leads, how sure that is, and, if you have bet, how your bet ended.",
        where="scrubber-card",
        hides=True,
        opens="rewind",
    ),
)
"""The first steps of a lesson on a recorded race."""

CHECK = GuideStep("", "Read why, and check yourself.", Awaited("pressed", "Check yourself", of="[data-question]"))
"""The last step of every lesson."""


def example_matrix() -> Float[Tensor, "out in"]:
    """Return the example matrix of the QR lesson: small and of full rank."""
    rows = ((4, 3, -2, 1), (2, -1, 3, 2), (-2, 2, 1, -3), (1, 4, 2, 0), (3, 0, -1, 4), (0, -2, 4, 1))
    return torch.tensor(rows) / 2


@dataclass(frozen=True)
class RaceNumbers:
    """The single numbers of a recorded race that lessons quote."""

    recording: Recording

    def lanes(self, init: str, lr: float | None = None) -> list[int]:
        """Return the indices of the lanes of an initialization, at all rates or one; ValueError if there is none."""
        every = enumerate(self.recording.config.lanes)
        numbers = [k for k, lane in every if lane.init == init and lr in (None, lane.lr)]
        if not numbers:
            raise ValueError(f"{self.recording.name} has no lane {init} at {lr}")
        return numbers

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.recording.steps)

    @property
    def base_loss(self) -> float:
        """Held-out loss of the base model, nats."""
        return float(self.recording.baseline.loss[0])

    @property
    def base_accuracy(self) -> float:
        """Held-out accuracy of the base model."""
        return float(self.recording.baseline.accuracy[0])

    def rates(self, init: str) -> list[float]:
        """Return the rates of an initialization, the lowest first."""
        return sorted({self.recording.config.lanes[k].lr for k in self.lanes(init)})

    def loss(self, init: str, lr: float | None = None) -> float:
        """Return the final held-out loss of an initialization, mean over its seeds; nats."""
        return float(np.mean(self._final("eval_loss")[self.lanes(init, lr)]))

    def accuracy(self, init: str) -> float:
        """Return the final held-out accuracy, mean over the lanes of an initialization."""
        return float(np.mean(self._final("eval_accuracy")[self.lanes(init)]))

    def drift(self, init: str, lr: float) -> float:
        """Return the final drift of an initialization on the text to keep, mean over its seeds; nats per token."""
        return float(np.mean(self._final("drift")[self.lanes(init, lr)]))

    def text_loss(self, init: str, lr: float) -> float:
        """Return the final loss of an initialization on the text to keep, mean over its seeds; nats per token."""
        return float(np.mean(self._final("text_loss")[self.lanes(init, lr)]))

    @property
    def basis(self) -> Basis:
        """The seeds and held-out examples of the race."""
        examples = latest_examples(self.recording.steps)
        count = 0 if examples is None else examples.loss.shape[1]
        return Basis(len({lane.seed for lane in self.recording.config.lanes}), count)

    @property
    def accuracies(self) -> str:
        """The range of the lanes' final held-out accuracies, in words."""
        return self.right(range(len(self.recording.config.lanes)))

    @property
    def losses(self) -> str:
        """The range of the lanes' final held-out losses, in words."""
        values = self._final("eval_loss")
        return f"{nats(float(values.min()))} to {nats(float(values.max()))} nats"

    @property
    def sentences(self) -> str:
        """The sentences on the starts of the race, as on its page."""
        return " ".join(map(str, describe_rates(self.recording.config.lanes, self.recording.steps)))

    def verdict(self, where: str, first: str, second: str, lr: float) -> str:
        """Describe how two initializations compare at one rate; ValueError if they are not compared at this rate."""
        (contest,) = self._contests
        places, shared, field = contest.places, at_shared_rates(contest), contest.field
        if field and field.at_one_rate and {first, second} <= places.keys():
            statement = statement_of(contest, places[first], places[second])
        elif field and lr in shared and (first, second) == field.roles:
            statement = shared[lr]
        else:
            raise ValueError(f"{first} and {second} are not compared at {lr} in {self.recording.name}")
        return str(replace(statement, where=where).sentence)

    @property
    def _contests(self) -> list[Contest]:
        """The comparisons on its page."""
        race, examples = self.recording, latest_examples(self.recording.steps)
        if examples is None:
            return []
        lanes = race.config.lanes
        metric = metric_of(lanes, examples, plain_text=race.plain_text, ended=True, held_out=race.held_out)
        return contests_of(lanes, examples, by_loss=metric.by_loss, most=1)

    def right(self, lanes: Sequence[int]) -> str:
        """Return the range of the final held-out accuracies of some lanes, in words."""
        values = self._final("eval_accuracy")[list(lanes)]
        ends = [percent(float(end)) for end in (values.min(), values.max())] if lanes else ["–"]
        return " to ".join(dict.fromkeys(ends))

    def best(self, init: str) -> Point:
        """Return the best rate of an initialization; ValueError if a seed diverged at every rate."""
        curves = rate_curves(self.recording.config.lanes, self.recording.steps)
        (best,) = (curve.optimum for curve in curves if curve.lane.init == init)
        if best is None:
            raise ValueError(f"{init} has no rate without a diverged seed in {self.recording.name}")
        return best

    def first_gradient(self, init: str) -> float:
        """Return the norm of the first gradient of an initialization, mean over its lanes."""
        return float(np.mean(self.recording.steps[0].grad_norm[self.lanes(init)]))

    def of_spectra(self, measure: str, init: str) -> float:
        """Return a measure of ΔW or B, mean over layers, at the last measurement."""
        spectra = [step.update_spectra for step in self.recording.steps if step.update_spectra is not None]
        return float(np.mean(getattr(spectra[-1], measure)[self.lanes(init)]))

    def curvature(self, init: str, lr: float, last: bool = False) -> float:
        """Return the largest Hessian eigenvalue of a lane, at the first or last measurement."""
        curvatures = [step.curvature for step in self.recording.steps if step.curvature is not None]
        (k,) = self.lanes(init, lr)
        return float(curvatures[-1 if last else 0].lambda_max[k])

    @property
    def first_measured(self) -> int:
        """The step of the first curvature measurement."""
        return next(step.step for step in self.recording.steps if step.curvature is not None)

    def _final(self, name: str) -> np.ndarray:
        values = (getattr(step, name) for step in reversed(self.recording.steps))
        return next(value for value in values if value is not None)
