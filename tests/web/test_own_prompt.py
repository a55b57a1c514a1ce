"""A prompt of one's own: answered while it races and afterwards, for the owner alone."""

import re
from collections.abc import Iterator

import pytest
from support.queued import wait
from support.waiting import wait_until

from olora_viz.background.race import BackgroundRace, OwnPrompt
from olora_viz.background.record import PAUSED
from olora_viz.lanes.generation import Answer
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import FINISHED, RACING
from olora_viz.views.race import RaceView
from olora_viz.web.guard.limits import NOBODY, REQUEST_SECONDS, Limits, Rate, Visitor
from olora_viz.web.jobs.job import readers_key
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.ask import ask
from olora_viz.web.race.stream import view_of

LIMITS = Limits(max_prompt=60)
RATE = Rate(10**6, 10**6)
CONFIG = RaceConfig(
    model="glassllm", task="sentiment", lanes=(Lane("lora", r=2), Lane("olora", r=2)), steps=6,
    batch_size=4, eval_every=2, eval_size=4, test_size=4,
)  # fmt: skip
PROMPT = "The <b>tea</b> was horrid. She was"


SECONDS = 300
"""For a race on a busy machine."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jobs, BackgroundRace]]:
    """A queue, and a race that has ended there."""
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield jobs, wait(jobs.start(CONFIG), SECONDS)
    jobs.close()


def seen(jobs: Jobs, key: str) -> RaceView:
    """Return what a page shows under a key."""
    shown = jobs.opened(key)
    assert shown
    return view_of(shown)


def test_lanes_of_a_paused_race_answer_and_those_of_an_ended_one_and_no_step_changes(
    finished: tuple[Jobs, BackgroundRace],
) -> None:
    jobs, alone = finished
    job = jobs.start(CONFIG, goal=3)
    wait_until(lambda: job.state == PAUSED, SECONDS)
    for step in (3, 6):
        work = ask(jobs, LIMITS, RATE, job.id, PROMPT)  # at rest, by its folder
        assert work is not None
        assert job.own_prompt == OwnPrompt(PROMPT)
        wait(work, SECONDS)
        assert work.state == FINISHED, work.note
        own: OwnPrompt | None = job.own_prompt
        assert own
        assert own.answer
        assert (own.answer.step, len(own.answer.lanes)) == (step, 2)
        if step == 3:
            jobs.resume(job)
            wait(job, SECONDS)
            assert job.own_prompt
            assert job.own_prompt.answer
            assert job.own_prompt.answer.step == 6  # asked again at the end
            by_race = job.own_prompt
    assert job.own_prompt == by_race
    assert [step.loss.tolist() for step in job.steps] == [s.loss.tolist() for s in alone.steps]


def test_a_race_answers_after_its_step_and_the_newest_prompt_counts(jobs: Jobs) -> None:
    job = jobs.start(CONFIG)
    asked, left = [], [f"0 {PROMPT}", f"1 {PROMPT}"]

    def listen() -> None:
        if job.steps and job.state == RACING and left:
            asked.append(ask(jobs, LIMITS, RATE, job.id, left.pop(0)))

    job.listen = listen
    wait(job, SECONDS)
    assert asked == [None, None], "the race itself answers"
    assert job.own_prompt is not None
    assert job.own_prompt.prompt == f"1 {PROMPT}"
    assert job.own_prompt.answer is not None
    assert job.own_prompt.answer.step == 6


def test_the_owner_sees_prompt_and_answers_escaped_and_readers_see_neither(
    finished: tuple[Jobs, BackgroundRace],
) -> None:
    jobs, job = finished
    job.own_prompt = OwnPrompt(PROMPT, Answer(PROMPT, "", "<b>tea", ("<b>tea", "sad"), 6))
    mine, others = (seen(jobs, key) for key in (job.id, readers_key(job.id)))
    assert mine.can_be_asked
    assert "&lt;b&gt;tea" in mine.answers
    assert "<b>tea" not in mine.answers
    assert mine.answers.count("right") == others.answers.count("right"), "nothing to judge by"
    assert not others.can_be_asked
    assert "tea" not in others.answers.replace(job.record().answers[0].prompt, "")
    job.own_prompt = OwnPrompt(PROMPT, problem="<i>no</i>")
    assert "&lt;i&gt;no" in seen(jobs, job.id).answers
    job.own_prompt = None
    assert not seen(jobs, "recorded:first").can_be_asked


def test_what_is_no_prompt_or_not_one_s_own_race_is_refused_in_a_sentence(
    finished: tuple[Jobs, BackgroundRace],
) -> None:
    jobs, job = finished
    for run in (readers_key(job.id), "recorded:first", None, 7, ["a"], "../x"):
        with pytest.raises(ValueError, match="only the owner"):
            ask(jobs, LIMITS, RATE, run, PROMPT)
    for prompt, rule in [
        ("", "write what to ask"), (" \n", "write what to ask"), (None, "write what to ask"),
        (["a"], "write what to ask"), ("a" * 61, "61 characters, more than 60"),
        ("\ud800", "half a character"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(rule)):
            ask(jobs, LIMITS, RATE, job.id, prompt)
    assert job.own_prompt is None
    job = jobs.start(CONFIG)
    with pytest.raises(ValueError, match="after the race's first step"):
        ask(jobs, LIMITS, RATE, job.id, PROMPT)
    jobs.stop(job)


def test_requests_are_counted_by_page_and_by_address_over_a_minute() -> None:
    now = [0.0]
    rate = Rate(2, 3, lambda: now[0])
    one, two = Visitor("one", "office"), Visitor("two", "office")
    rate.count(one, "prompts")
    now[0] = 1.0
    rate.count(one, "prompts")
    with pytest.raises(ValueError, match=r"2 prompts a minute are the most for one page: .* 59 s"):
        rate.count(one, "prompts")
    rate.count(two, "prompts")
    with pytest.raises(ValueError, match="3 prompts a minute are the most for one address"):
        rate.count(two, "prompts")
    rate.count(Visitor("three", "home"), "prompts")
    for _ in range(9):
        rate.count(NOBODY, "prompts")
    now[0] = REQUEST_SECONDS
    rate.count(one, "prompts")
    with pytest.raises(ValueError, match="page"):
        rate.count(one, "prompts")
