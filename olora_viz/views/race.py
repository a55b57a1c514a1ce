"""The view of a race: every word and figure that its page shows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Generic, TypeVar, cast

from markupsafe import Markup

from olora_viz.background.race import OwnPrompt
from olora_viz.background.record import (
    ENDED,
    FAILED,
    LOADING,
    NEXT,
    READY,
    WAITING,
    Copied,
    RaceRecord,
    Wait,
    commands,
    news,
    start_of,
)
from olora_viz.figures.forgotten import forgotten_figure
from olora_viz.figures.layers import ranks_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.race import (
    RaceCurves,
    accuracy_figure,
    gradient_figure,
    loss_figure,
    measure_figure,
    without_figure,
)
from olora_viz.figures.theme import LaneStyle
from olora_viz.learn.gallery import Recording
from olora_viz.machine.wording import Sentence, about, seconds
from olora_viz.measures.catalogue import MEASURES
from olora_viz.races.step import STOPPED, Step, latest_factors, with_best_results
from olora_viz.studies import story
from olora_viz.studies.contest import Metric, SeedGroup, latest_drift, latest_examples, metric_of, seed_groups
from olora_viz.studies.ranking import Place, group_places, lanes_in_order, put_first, standings
from olora_viz.studies.sentences import batches_vary, caveat, departure
from olora_viz.studies.verdict_line import VerdictLine, verdict_line
from olora_viz.tasks import TASKS
from olora_viz.views import bet as bets
from olora_viz.views import html as fragments
from olora_viz.views.html import remark
from olora_viz.views.results import (
    Ranked,
    forgotten_table,
    group_styles,
    results_of,
    story_before,
    verdict_html,
    without_verdict,
)

FOR_READERS = frozenset({"start", "step"})
"""The commands beside a race of another owner: each starts a race of the reader's own."""


V = TypeVar("V")


class drawn_once(Generic[V]):  # noqa: N801 - it is used as a `cached_property` is
    """What a view computes on first use, once for all views that have their `RaceView.common` in common."""

    def __init__(self, draw: Callable[[Any], V]) -> None:
        self._draw, self.__doc__ = draw, draw.__doc__

    def __get__(self, view: RaceView | None, _: object = None) -> V:
        """Return the value of a view."""
        if view is None:  # of the class
            return cast("V", self)
        return view.once(self._draw.__name__, lambda: self._draw(view))


@dataclass(frozen=True)
class RaceView:
    """A race at one moment, or at one of its steps: values, figures and HTML, no widget.

    Figures, tables and sentences are computed on first use, from values that do not change, so a page pays only for
    the cards that it draws.
    """

    name: str
    state: str
    complete: bool
    """Whether the race has ended: nothing changes any more."""
    recorded: bool
    commands: frozenset[str]
    """The available commands, see `olora_viz.background.record.COMMANDS`."""
    status: Markup
    """One line of HTML: the state, the progress, the speed."""
    steps_done: int
    step: int
    """The step shown; later steps are left out."""
    seconds: float
    """Time until that step; 0 for a recorded race."""
    styles: tuple[LaneStyle, ...]
    """Colours, dashes and labels of the lanes."""
    news: dict[str, int]
    """See `olora_viz.background.record.news`; also for ``measurements``."""
    steps: Sequence[Step] = field(repr=False)
    race: RaceRecord = field(repr=False)
    """The race, without its steps after the one shown."""
    run: str
    """The race's name in its figures."""
    introduction: Markup
    """What a recorded race is about; empty for any other."""
    owned: bool = True
    """Whether it obeys the commands of whoever looks at it."""
    readers_key: str = ""
    """What opens it in a link to show it to others; empty if nothing does."""
    copied: Copied | None = None
    """Whose steps they are, if an equal race computes them."""
    refused: str = ""
    """Why no GPU was lent to its owner's race; empty otherwise."""
    own_prompt: OwnPrompt | None = None
    """A prompt of its owner's own, which readers do not see."""
    common: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was computed on first use, by name: other pages that show the same race at the same step have the same."""

    def once(self, name: str, make: Callable[[], V]) -> V:
        """Return what is made on first use, once for all views that have their `common` in common."""
        if name not in self.common:
            self.common[name] = make()
        return self.common[name]

    @property
    def figures(self) -> dict[str, Figure]:
        """The three charts of every race, by name."""
        return {"loss": self.loss, "gradient": self.gradient, "accuracy": self.accuracy}

    @drawn_once
    def loss(self) -> Figure:
        """Training and held-out loss."""
        return self.drawn(loss_figure, start_loss=start_of(self.race)[0], plain_text=self.race.plain_text)

    @drawn_once
    def gradient(self) -> Figure:
        """Norm of the gradient."""
        return self.drawn(gradient_figure)

    @drawn_once
    def accuracy(self) -> Figure:
        """Held-out accuracy."""
        race, (_, start) = self.race, start_of(self.race)
        return self.drawn(accuracy_figure, start_accuracy=start, plain_text=race.plain_text, held_out=race.held_out)

    @drawn_once
    def ranks_by_layer(self) -> Figure:
        """The rank of each lane by layer."""
        return ranks_figure(self.race.ranks, self.styles, run=self.run)

    @drawn_once
    def forgotten(self) -> Figure:
        """What the lanes learned against what they forgot."""
        race = self.race
        return self.drawn(forgotten_figure, start_loss=start_of(race)[0], text=race.text, plain_text=race.plain_text)

    @drawn_once
    def forgotten_table(self) -> Markup:
        """The numbers of `forgotten` at its last measurement."""
        return forgotten_table(self._ranked)

    @drawn_once
    def measurements(self) -> dict[str, Figure]:
        """Charts of the other measurements of one number per lane, by key."""
        return {key: self.drawn(partial(measure_figure, MEASURES[key])) for key in without_figure(self.race.steps)}

    @drawn_once
    def order(self) -> tuple[int, ...]:
        """The lanes, in the order of the ranking; of each group of seeds the median one first."""
        return lanes_in_order(self._places, self._groups, self._rows)

    @property
    def star(self) -> str:
        """Why the first lane is the one to take, in words."""
        seeds = len(self._groups[self._places[0].lane].lanes)
        return f"the median of {seeds} seeds of what is " * (seeds > 1) + "first in the ranking"

    @drawn_once
    def story(self) -> Markup:
        """Sentences on the results."""
        config = self.race.config
        foot = caveat(config.lanes, by_seed=batches_vary(config, self.race.held_out))
        story = fragments.sentences(self._sentences, foot) if self._sentences else Markup("")
        return self.introduction + story or story_before()

    @drawn_once
    def verdict(self) -> Markup:
        """Who leads, by what, and how sure that is, in a line."""
        if self._verdict is None:
            return without_verdict(self.race, self._group_styles, self._places)
        return verdict_html(self._verdict, self.race.config.keep_best, self.next_step)

    @property
    def inside_at(self) -> int:
        """The step of the pictures of its adapters that belong to the step shown; 0 for those at the start."""
        at = latest_factors(self.race.steps)
        return at.step if at else 0

    @property
    def next_step(self) -> str:
        """The next step that the verdict of a finished race suggests; may be empty."""
        return self._verdict.next_step if self._is_last and self._verdict else ""

    @property
    def _is_last(self) -> bool:
        """Whether the race has ended, with the step shown."""
        return self.complete and self.step == self.steps_done

    @drawn_once
    def bet(self) -> Markup:
        """What can be bet on the race, or how each bet on it ended; empty before it starts."""
        config, lanes = self.race.config, self.race.config.lanes
        question = bets.question_of(lanes, config.steps)
        if question is None or self.state == READY:
            return Markup("")
        names = {
            lane: style.label
            for style, group in zip(self._group_styles, self._groups, strict=True)
            for lane in group.lanes
        }
        labels = {start: names[lane] for start, lane in zip(question.starts, question.lanes, strict=True)}
        examples = latest_examples(self._judged)
        if not self._is_last:
            is_open = examples is None and (self.recorded or not self.complete)
            return bets.bets(self.name, bets.OPEN if is_open else bets.GOING, question, labels, recorded=self.recorded)
        compared = None
        if examples is not None and self.state not in (STOPPED, FAILED):
            compared = bets.contest_at(question, lanes, examples, by_loss=self.metric.by_loss)
        ended = None if compared is None else bets.scores(question, compared, self.metric.why)
        reached = story.steps_to_reach(lanes, self._judged, start_of(self.race)[0], question.rate)
        reach = next((each for each in reached if each.curve.lane.init == question.chaser), None)
        return bets.bets(self.name, bets.BET_ENDED, question, labels, ended, reach, recorded=self.recorded)

    @drawn_once
    def _judged(self) -> Sequence[Step]:
        """The steps, with the results that ranking and verdict speak of."""
        return self._with_best(self.race.steps)

    def _with_best(self, steps: Sequence[Step]) -> Sequence[Step]:
        return with_best_results(self.race.config, steps, self.race.text, start_of(self.race)[0])

    @drawn_once
    def _verdict(self) -> VerdictLine | None:
        config, judged = self.race.config, self._judged
        return verdict_line(
            config.lanes, latest_examples(judged), drift=latest_drift(judged),
            dtype=config.dtype_on(self.race.device), **self._known,
            steps=judged, start_loss=start_of(self.race)[0],
        )  # fmt: skip

    @property
    def _ended(self) -> bool:
        """Whether the step shown is the last one of the race."""
        return bool(self.step) and (self._is_last or self.step >= self.race.config.steps)

    @drawn_once
    def _known(self) -> dict[str, Any]:
        """What the comparison of the lanes needs to know beside the results."""
        return {"plain_text": self.race.plain_text, "ended": self._ended, "held_out": self.race.held_out}

    @drawn_once
    def metric(self) -> Metric:
        """What the lanes are compared and ordered by."""
        return metric_of(self.race.config.lanes, latest_examples(self._judged), **self._known)

    @drawn_once
    def results(self) -> Markup:
        """The tables of results, the best lane first, with remarks on the data and the lanes."""
        problem = fragments.problem(self.race.note) if self.race.state == FAILED else Markup("")
        return problem + results_of(self._ranked)

    @property
    def _ranked(self) -> Ranked:
        return Ranked(
            self.race, self._group_styles, self._places, self._rows, self._groups, latest_examples(self._judged),
            self.metric, self._verdict.basis.chosen_on if self._verdict else 0,
        )  # fmt: skip

    @property
    def whose(self) -> Markup:
        """A line that it is of another owner; empty for the reader's own race and for recorded ones."""
        return Markup("") if self.owned else watching_words(self.race.config.task)

    @property
    def adapters(self) -> dict[str, Any] | None:
        """The lanes whose adapters can be downloaded; None before the first step."""
        if not self.steps_done:
            return None
        order = self.order if self.complete and not self.recorded and self.owned else ()
        styles = ((k, self.styles[k]) for k in order)
        lanes = [{"lane": k, "label": style.label, "init": style.init, "dash": style.dash} for k, style in styles]
        star = {"star": self.star} if lanes else {}
        return {"lanes": lanes, **star, "recorded": self.recorded, "owned": self.owned}

    @cached_property
    def answers(self) -> Markup:
        """The answers of the base model and the lanes to the same prompts, and to one of the owner's own."""
        own = self.own_prompt
        if not own:
            return self._answers
        order = self._order_at(own.answer.step if own.answer else None)
        return self._answers + _own_answers(self._group_styles, self._groups, order, own)

    @drawn_once
    def _answers(self) -> Markup:
        race, styles, groups = self.race, self._group_styles, self._groups
        shown = fragments.answers_before(() if race.plain_text else styles)
        if race.answers:
            when = BY_BEST_ADAPTERS if race.config.keep_best else f"at step {self.steps_done}"
            order = self._order_at(race.answers[0].step)
            shown = fragments.answers(styles, groups, order, race.answers, race.plain_text, when)
        return shown

    def _order_at(self, step: int | None) -> list[int]:
        """Return the groups, the best one first after a step; None is the latest one."""
        by_loss, steps = self.metric.by_loss, self._with_best(self.steps[:step])
        rows = standings(steps, len(self.styles), by_loss=by_loss)
        return [place.lane for place in group_places(rows, self._groups, by_loss=by_loss)]

    @property
    def can_be_asked(self) -> bool:
        """Whether its lanes can answer a prompt of whoever looks at it."""
        going = self.state not in (WAITING, LOADING, FAILED)
        behind = self.copied is not None and self.copied.behind
        return self.owned and not self.recorded and going and self.steps_done > 0 and not behind

    @drawn_once
    def text(self) -> str:
        """Standings and story as plain text."""
        lines = []
        for place in self._places:
            if place.out_at:
                words = f"{departure(place.left, 'out')}, its {place.why_out}"
            elif math.isfinite(place.loss):
                words = f"held-out loss {place.loss:.3g}"
            else:
                continue
            lines.append(f"{self._group_styles[place.lane].label}: {words}")
        return "\n".join([*lines, " ".join(map(str, self._sentences))])

    @drawn_once
    def _rows(self) -> list[Place]:
        return standings(self._judged, len(self.styles), by_loss=self.metric.by_loss)

    @drawn_once
    def _groups(self) -> tuple[SeedGroup, ...]:
        return tuple(seed_groups(self.race.config.lanes))

    @drawn_once
    def _group_styles(self) -> tuple[LaneStyle, ...]:
        return group_styles(self._groups, self.styles)

    @drawn_once
    def _places(self) -> list[Place]:
        places = group_places(self._rows, self._groups, by_loss=self.metric.by_loss)
        return put_first(places, self._groups, self._verdict.compared if self._verdict else ())

    @drawn_once
    def _sentences(self) -> list[Sentence]:
        race, names = self.race, [style.label for style in self.race.styles]
        if not race.steps:
            return []
        return story.story_of(race.config.lanes, names, self._judged, **self._known)

    def drawn(self, draw: Callable[..., Figure], **more: Any) -> Figure:
        """Draw a chart of lanes over steps, a curve for each group of seeds."""
        seeds = [group.lanes for group in self._groups]
        figure = draw(RaceCurves(self._group_styles, self.race.steps, self.race.config.steps, self.run, seeds), **more)
        members = {
            style.label: [self.styles[k].label for k in group.lanes]
            for style, group in zip(self._group_styles, self._groups, strict=True)
            if len(group.lanes) > 1
        }
        if members:
            # Hiding a band hides its lanes in the other charts.
            figure["layout"]["meta"]["members"] = members
        return figure


def race_view(
    record: RaceRecord,
    *,
    upto: int | None = None,
    before: Wait = NEXT,
    link: str = "",
    run: str | None = None,
    owned: bool = True,
) -> RaceView:
    """Return the view of a race, now or at an earlier step.

    Lanes that differ only in their seed are shown as one: their mean, and a band.

    Args:
        record: a `ready_race` for a race that has not started.
        upto: the last step to show; None shows all of them.
        before: what is ahead of it in the queue.
        link: query of the page that sets up the same race, offered with a recorded one.
        run: the race's name in its figures: zoom and hidden lanes are kept while it stays the same, and charts of one
            name show the same step. By default the record's name.
        owned: whether it obeys whoever looks at it; otherwise the only command is to start another.
    """
    now = record.at_found_rates()
    steps = now.steps[:upto]
    # With `patience` a race may end before its last step.
    at_end = len(steps) == (len(now.steps) if now.config.patience else now.config.steps)
    answers = now.answers_at(len(steps))
    race = replace(now, steps=steps, answers=answers, tested=now.tested if at_end else None)
    return RaceView(
        name=now.name,
        state=now.state,
        complete=now.complete,
        recorded=now.recorded,
        commands=commands(now) if owned else FOR_READERS,
        status=status(now, len(steps), before),
        steps_done=len(now.steps),
        step=len(steps),
        seconds=steps[-1].seconds if steps and not now.recorded else 0.0,
        styles=now.styles,
        news=news(now) | {"measurements": len(now.steps) if without_figure(now.steps) else 0},
        steps=now.steps,
        race=race,
        run=now.name if run is None else run,
        introduction=introduction(record, link) if now.recorded else Markup(""),
        owned=owned,
    )


BY_BEST_ADAPTERS = "by each lane's best adapter"
"""When answers were given, where each lane has the adapter of a step of its own."""


def _own_answers(
    styles: Sequence[LaneStyle], groups: Sequence[SeedGroup], order: Sequence[int], own: OwnPrompt
) -> Markup:
    """Return the prompt with the answers of all, none of which is right or wrong, see `answers` of `views.html`."""
    if own.problem:
        return Markup('<div class="own-prompt">{}</div>').format(fragments.problem(own.problem))
    if own.answer is None:
        return Markup('<div class="own-prompt"><p class="hint">Asking “{}” …</p></div>').format(own.prompt)
    kind = "all-asked" + " many" * (len(groups) > fragments.FEW)
    when = BY_BEST_ADAPTERS if own.answer.step is None else f"at step {own.answer.step}"
    rows = fragments.contenders(styles, groups, order, own.answer)
    return Markup(
        '<div class="own-prompt {}"><div class="asked"><p><span class="prompt">{}</span> → '
        '<span class="hint">{}</span></p>{}</div></div>'
    ).format(kind, own.answer.prompt.strip(), when, rows)


def introduction(record: RaceRecord, query: str) -> Markup:
    """Return what a recorded race is about, when and on what it was made; empty for any other.

    Args:
        query: of the link that opens the same set-up; "" outside the page.
    """
    if not isinstance(record, Recording):
        return Markup("")
    when = f"Recorded on {record.origin.date}, on {record.origin.device}."
    link = (
        Markup('<p>Press Race to run it here. <a href="?{}">Back to its set-up</a></p>').format(query) if query else ""
    )
    return Markup('<div class="recorded"><h2>{} <span class="badge">recorded</span></h2><p>{} {}</p>{}</div>').format(
        record.title, record.sentence, when, link
    )


def watching_words(task: str) -> Markup:
    """Return the line above another owner's run; the examples of a task file are not shown."""
    own = "" if task in TASKS else " Its examples are the owner's own and are not shown."
    return remark(f"You are watching somebody's run. Race starts your own.{own}")


SPEED_STEPS = 20
"""Steps over which the speed is measured."""


def status(record: RaceRecord, done: int, before: Wait = NEXT) -> Markup:
    """Return the line at the step `done`: the state in a word, the progress, the speed and the device.

    Args:
        before: what is ahead of it in the queue.
    """
    config, state = record.config, record.state
    if state in (READY, FAILED):
        return fragments.status(state, *([record.note] if record.note else []))
    if state == WAITING:
        return fragments.waiting(before)
    if state == LOADING:
        return fragments.status(LOADING, record.note)
    parts: list[str] = [Markup("<b>{}</b> / {}").format(done, config.steps)]
    note = [Markup('<span class="note">{}</span>').format(_foldable(record.note))] if record.note else []
    if record.recorded:  # its speed was measured on another machine
        state = "recorded"
        parts.append(Markup("<span>{},</span> <span>{}</span>").format(config.model, config.task))
    elif state in ENDED and not record.complete and note:  # what it still does comes first
        parts += note
    else:
        parts += [*_speed(record, done), *note]
    return fragments.status(state, *parts, progress=done / config.steps)


def _foldable(note: str) -> Markup:
    """Return what is being done with how far it is; of what, a narrow page leaves out.

    >>> print(_foldable("evaluating 64 held-out examples, 62%"))
    evaluating<span class="of"> 64 held-out examples</span>, 62%
    """
    parts = re.fullmatch(r"(\w+)( .*)(, \d+%)", note)
    return Markup('{}<span class="of">{}</span>{}').format(*parts.groups()) if parts else Markup("{}").format(note)


def _speed(record: RaceRecord, done: int) -> list[str]:
    """Return the speed, the memory and the time left; at the end the device and the time it took."""
    steps = record.steps[:done]
    device = record.device if record.device != "CPU" else ""
    if not steps:
        return [device] if device else []
    last = steps[-1]
    if record.complete or record.state in ENDED:
        return [part for part in (device, seconds(last.seconds)) if part]
    window = steps[-SPEED_STEPS - 1 :]
    spent = last.seconds - (window[0].seconds if len(window) > 1 else 0.0)
    rate = max(len(window) - 1, 1) / max(spent, 1e-9)
    speed = f"{rate:.0f} steps/s" if rate >= 3 else f"{rate:.2g} steps/s"
    left = f"{about((record.config.steps - last.step) / rate)} left"
    return [part for part in (speed, _memory(record, device), left) if part]


def _memory(record: RaceRecord, device: str) -> str:
    """Return the device and its memory in use, the peak in a tooltip."""
    if record.memory is None:
        return device
    now, peak = record.memory.words
    return Markup('<span class="memory" title="{}; peak {}">{}</span>').format(
        f"{record.device} memory".strip(), peak, f"{device} {now}".strip()
    )
