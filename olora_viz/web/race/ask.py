"""The owner's own prompt to the lanes of a race, while it races and afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from olora_viz.background.race import BackgroundRace, OwnPrompt
from olora_viz.background.record import ENDED, FAILED, LOADING, PAUSED, WAITING
from olora_viz.background.work import BackgroundWork
from olora_viz.races.run import restored
from olora_viz.races.step import FINISHED
from olora_viz.views.html import before_words, problem, remark
from olora_viz.web.guard.limits import NOBODY, Limits, Rate, Visitor, visitor_of
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import changes
from olora_viz.web.parts.card import LATEST_ONLY, PRIVATE, Card, Desk, element, showing, words
from olora_viz.web.race.stream import view_of

FIELD = showing("ask", "can_be_asked")
"""The field in the card of the answers."""


@dataclass(eq=False)
class Asking(BackgroundWork):
    """A prompt to the lanes of a race at rest, in the queue."""

    travels = False
    race: BackgroundRace | None = None

    def run(self) -> None:
        """Restore the race from its folder, and ask its lanes."""
        race = self.race
        assert race is not None
        own = race.own_prompt
        assert own is not None
        self.become(LOADING, "loading the adapters")
        racing = restored(race.run_folder, device=self.raced.device, progress=self.progress)
        try:
            self.become("answering")
            answered = own.answered_by(racing)
        finally:
            racing.lanes.detach()
        if race.own_prompt is own:
            race.own_prompt = answered
        self.become(FINISHED)


def ask(jobs: Jobs, limits: Limits, rate: Rate, run: Any, prompt: Any, owner: Visitor = NOBODY) -> Asking | None:
    """Ask the lanes of a race: after its current step, or in the queue if it is at rest.

    Args:
        run: the race's owner's key.

    Returns:
        The work in the queue; None if the race itself answers.

    Raises:
        ValueError: there is no such race of this owner, it has no lanes yet, or the prompt breaks a limit; the message
            is one sentence.
    """
    job = jobs.get(run)
    if job is None:
        raise ValueError("only the owner of a race can ask its lanes: start one, and ask it")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("write what to ask")
    if len(prompt) > limits.max_prompt:
        raise ValueError(f"your prompt has {len(prompt):,} characters, more than {limits.max_prompt:,}")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("your prompt contains half a character (a lone surrogate)") from error
    if not job.steps or job.state in (WAITING, LOADING, FAILED):
        raise ValueError("the lanes can be asked after the race's first step")
    rate.count(owner, "prompts")
    if job.ask(prompt):
        return None
    if job.source is not None:
        raise ValueError("these steps are those of an equal race, whose lanes can be asked at its end: or race anew")
    if job.state not in (*ENDED, PAUSED):
        raise ValueError("the lanes can be asked once the race has paused or ended")
    before, job.own_prompt = job.own_prompt, OwnPrompt(prompt)
    try:
        return jobs.add(Asking, job.raced, job.styles, owner, race=job)
    except ValueError:
        job.own_prompt = before
        raise


def build(desk: Desk) -> list[Any]:
    """Make the answers, with the field below them."""
    components = ANSWERS.build(desk)
    desk.parts["ask"] = element(
        "",
        elem_id="ask",
        html_template=(
            '<form class="ask"><input type="text" autocomplete="off" '
            f'maxlength="{desk.limits.max_prompt}" placeholder="Ask them something…" '
            'aria-label="a prompt of your own, to all lanes" title="They read exactly this text: '
            'write it like the prompts above"><button class="quiet" aria-label="ask">↵</button>'
            "</form>"
        ),
        script="race/ask.js",
    )
    desk.parts["ask-note"] = element("", elem_id="ask-note")
    return list(components)


ANSWERS = words("answers", "answers", "answers", column="right")
CARD = Card("answers", ANSWERS.needs, build, ANSWERS.draw, column="right")


def connect(desk: Desk) -> None:
    """Make the field ask."""
    jobs, limits = desk.jobs, desk.limits
    rate = Rate(limits.page_prompts, limits.address_prompts)

    async def asked(request: gr.Request, run: Any, event: gr.SelectData) -> AsyncIterator[Any]:
        try:
            work = ask(jobs, limits, rate, run, event.value, visitor_of(request))
        except ValueError as error:
            yield problem(str(error))
            return
        yield ""
        if work is None:
            return
        async for change in changes(jobs, work):
            if change is None:
                yield gr.skip()
                continue
            progress = before_words(change[0]) if change[0].places else work.note or work.state
            yield remark(f"Asking them … {progress}")
        if work.state != FINISHED and work.race is not None:
            work.race.own_prompt = None
            yield problem(work.note or "the lanes were not asked: try again")
        else:
            yield ""

    def answered(run: Any) -> Any:
        access = jobs.opened(run)
        return view_of(access).answers if access else gr.skip()

    desk.parts["ask"].select(
        asked, desk.run, desk.parts["ask-note"], trigger_mode="once", concurrency_limit=None, **PRIVATE
    ).then(answered, desk.run, desk.parts["answers"], **LATEST_ONLY)
