"""Equal races are one: each is computed once, and every page sees what a race of its own would have shown."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.nightly import at_night
from support.queued import asked, lane
from support.races import small
from support.waiting import wait_until

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import AT_ONCE
from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import folder_size
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.trainer import Trainer
from olora_viz.web.guard.limits import Limits, Rate, Visitor
from olora_viz.web.jobs.job import RESTARTED, record_of
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.jobs.shared import race_key
from olora_viz.web.race.ask import ask
from olora_viz.web.race.stream import view_of

STEPS = 30
LONG = asked(steps=STEPS)


def visitor(name: str) -> Visitor:
    return Visitor(name, "here")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundRace]:
    """A race that nobody shared, from its beginning to its end."""
    with closing(Jobs(folder=tmp_path_factory.mktemp("alone"))) as jobs:
        race = jobs.start(LONG)
        assert race.wait(120)
        yield race


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the steps that are computed, but for those that a server of another test still times."""
    numbers: list[int] = []
    update = Trainer.update

    def counted(self, number, *more):
        if self._config.steps == STEPS:
            numbers.append(number)
        return update(self, number, *more)

    monkeypatch.setattr(Trainer, "update", counted)
    return numbers


def press(jobs: Jobs, name: str, config: RaceConfig = LONG, **more) -> BackgroundRace:
    race = jobs.race(config, owner=visitor(name), **more)
    assert isinstance(race, BackgroundRace)
    return race


def seen(jobs: Jobs, race: BackgroundRace, until: Callable[[BackgroundRace], object]) -> BackgroundRace:
    """Look at a race as its page does, until something holds."""
    wait_until(lambda: jobs.get(race.id) is race and until(race), 120)
    return race


def test_a_class_larger_than_what_is_kept_loses_no_race(tmp_path: Path) -> None:
    with closing(Jobs(Limits(keep_races=2), folder=tmp_path)) as jobs:
        races = [press(jobs, f"learner {i}", asked(steps=6)) for i in range(8)]
        for race in races:
            seen(jobs, race, lambda race: race.complete)
        late = press(jobs, "late", asked(steps=6))
        assert [jobs.get(race.id) for race in (*races, late)] == [*races, late], "together they count as one"
        others = [press(jobs, f"other {steps}", asked(steps=steps)) for steps in (3, 4)]
        for other in others:
            other.wait(120)
        press(jobs, "one more", asked(steps=5))  # too many: of those with the most one goes, and no learner's
        assert sum(jobs.get(other.id) is other for other in others) == 1
        assert all(jobs.get(race.id) is race for race in races)


def ended(jobs: Jobs, *races: BackgroundRace) -> None:
    for race in races:
        seen(jobs, race, lambda race: race.complete)


def numbers(race: BackgroundRace) -> list[dict]:
    """Return the lines of a race on the disk, without how long they took."""
    lines = (race.run_folder / "steps.jsonl").read_text("utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def adapters(folder: Path) -> dict[str, dict]:
    return {path.parent.name: load_file(path) for path in sorted((folder / "adapters").rglob("*.safetensors"))}


def check_same(race: BackgroundRace, other: BackgroundRace) -> None:
    """Two races have the same steps, answers, results and adapters, to the bit, in memory and on disk."""
    assert race.steps == other.steps
    mine, its = race.record(), other.record()
    assert (mine.state, mine.complete, mine.answers, mine.held_out) == (its.state, True, its.answers, its.held_out)
    assert mine.tested
    assert its.tested
    assert [each.to_json() for each in mine.tested] == [each.to_json() for each in its.tested]
    assert numbers(race) == numbers(other)
    check_adapters(race, other)


def check_adapters(race: BackgroundRace, other: BackgroundRace) -> None:
    mine, its = adapters(race.run_folder), adapters(other.run_folder)
    assert mine
    assert mine.keys() == its.keys()
    assert all(mine[k][name].equal(its[k][name]) for k in mine for name in its[k])


def test_whoever_presses_while_an_equal_race_computes_sees_the_same_at_once(
    jobs: Jobs, alone: BackgroundRace, computed: list[int]
) -> None:
    first, second = press(jobs, "a"), press(jobs, "b")
    seen(jobs, second, lambda race: len(race.steps) >= 10)
    third = press(jobs, "c")
    assert len(third.steps) >= 10
    assert third.steps == alone.steps[: len(third.steps)]
    assert [race.source for race in (first, second, third)] == [None, first, first]
    ended(jobs, first, second, third)
    assert computed == [*range(1, STEPS + 1)]
    assert second.source is third.source is None
    for race in (first, second, third):
        check_same(race, alone)
    views = [view_of(access) for race in (first, second, third) if (access := jobs.opened(race.id))]
    assert all(view.common is views[0].common for view in views), "it is drawn once"
    assert len({view.readers_key for view in views}) == 3
    assert [view.copied is None for view in views] == [True, False, False]
    shares = sum(folder_size(race.folder, shared=True) for race in (first, second, third))
    assert shares < 1.5 * folder_size(first.folder)


def test_whoever_comes_later_sees_it_at_its_speed_or_faster(jobs: Jobs, computed: list[int]) -> None:
    first = press(jobs, "a")
    ended(jobs, first)
    count = len(computed)
    late = press(jobs, "b", goal=1)
    seen(jobs, late, lambda race: race.state == "paused")
    assert (len(late.steps), late.record().tested, late.record().answers) == (1, None, ())
    jobs.resume(late, goal=6)
    seen(jobs, late, lambda race: len(race.steps) == 6 and race.state == "paused")
    (early, *_) = first.record().early_answers
    assert (early.step, late.record().answers, late.record().early_answers) == (5, (early,), (early,))
    began, at = time.monotonic(), late.steps[-1].seconds
    jobs.resume(late)
    seen(jobs, late, lambda race: len(race.steps) >= 12)
    assert time.monotonic() - began >= late.steps[11].seconds - at
    copied = late.seat.steps_of
    assert copied is not None
    assert (copied.live, copied.behind, copied.speed) == (False, True, 1.0)
    assert copied.began == first.seat.began
    late.seat.show_at(AT_ONCE)
    ended(jobs, late)
    check_same(late, first)
    assert len(computed) == count


@pytest.mark.parametrize("what", ["drop", *at_night("pause", "stop")])
def test_when_the_first_visitor_goes_the_others_go_on_as_if_nothing_were(
    jobs: Jobs, alone: BackgroundRace, computed: list[int], what: str
) -> None:
    first, second, third = press(jobs, "a"), press(jobs, "b"), press(jobs, "c")
    seen(jobs, second, lambda race: len(race.steps) >= 10)
    if what == "stop":
        jobs.stop(first)
    else:
        jobs.pause(first)
    if what == "drop":
        seen(jobs, first, lambda race: race.state == "paused")
        jobs._drop(jobs._jobs[first.id])
    done = len(first.steps)
    ended(jobs, second, third)
    check_same(second, alone)
    check_same(third, alone)
    assert sorted(computed) == [*range(1, STEPS + 1)]
    assert first.steps == alone.steps[: len(first.steps)]
    assert done <= len(first.steps) <= done + 1
    if what == "pause":
        jobs.resume(first)
        assert len(first.steps) < STEPS
        first.seat.show_at(AT_ONCE)
        ended(jobs, first)
        check_same(first, alone)
        assert len(computed) == STEPS


def places(jobs: Jobs, *races: BackgroundRace) -> list[int]:
    """Look at races as their pages do; return what is before each."""
    assert all(jobs.get(race.id) is race for race in races)
    return [jobs.before(race).places for race in races]


@pytest.mark.parametrize("what", ["stop", "pause"])
def test_who_follows_what_waits_has_a_place_of_its_own_from_when_it_asked(jobs: Jobs, what: str) -> None:
    def asks(name: str, steps: int) -> BackgroundRace:
        race = jobs.race(asked(steps=steps), owner=Visitor(name, name))
        assert isinstance(race, BackgroundRace)
        return race

    computing = asks("first", 10_000)
    wait_until(lambda: computing.steps)
    leads, before, follows, after = asks("leads", 300), asks("before", 200), asks("leads' friend", 300), asks("z", 100)
    assert follows.source is leads
    assert places(jobs, leads, before, follows, after) == [1, 2, 1, 3]
    getattr(jobs, what)(leads)
    assert places(jobs, before, follows, after) == [1, 2, 3]
    # A pause gives the place up, as that of a race without followers.
    third = asks("third", 200)
    jobs.pause(third)
    jobs.stop(before)
    assert places(jobs, follows, after) == [1, 2]
    jobs.resume(third)
    assert places(jobs, follows, after, third) == [1, 2, 3]
    for race in (third, after, follows, leads, computing):
        jobs.stop(race, catch_up=False)


def test_who_follows_what_computes_goes_on_in_its_turn(jobs: Jobs) -> None:
    leads = press(jobs, "a", asked(steps=10_000))
    wait_until(lambda: leads.steps)
    other = jobs.race(asked(steps=2), owner=Visitor("other", "elsewhere"))
    follows = press(jobs, "b", asked(steps=10_000))
    jobs.stop(leads)
    seen(jobs, follows, lambda race: race.source is None and len(race.steps) > len(leads.steps))
    assert other.steps == []
    jobs.stop(follows)


def test_who_goes_on_alone_needs_a_place_of_its_own(tmp_path: Path) -> None:
    with closing(Jobs(Limits(page_waiting=1), folder=tmp_path)) as jobs:
        computing = press(jobs, "x", asked(steps=10_000))
        wait_until(lambda: computing.steps)
        leads = press(jobs, "a", asked(steps=300))
        mine, follows = press(jobs, "b", asked(steps=200)), press(jobs, "b", asked(steps=300))
        jobs.stop(leads)
        assert jobs.get(follows.id) is follows
        assert follows.state == "paused"
        assert "the maximum for one page" in follows.note
        jobs.stop(mine)
        jobs.resume(follows)
        assert (follows.source, follows.state) == (None, "waiting")
        for race in (follows, computing):
            jobs.stop(race)


def test_what_one_page_does_with_its_view_changes_no_other(jobs: Jobs, alone: BackgroundRace) -> None:
    first, pauses, stops, resets = (press(jobs, name) for name in "abcd")
    for race in (pauses, stops, resets):
        seen(jobs, race, lambda race: len(race.steps) >= 5)
    jobs.pause(pauses)
    assert pauses.state == "paused"
    jobs.stop(resets, catch_up=False)
    assert (resets.state, resets.complete) == ("stopped", True)
    jobs.stop(stops)
    done, left = len(pauses.steps), len(stops.steps)
    ended(jobs, first, stops)
    check_same(first, alone)
    assert (stops.state, stops.steps) == ("stopped", alone.steps[: len(stops.steps)])
    assert left <= len(stops.steps) <= left + 1
    assert len(runs.read_steps(stops.run_folder)) == len(stops.steps)
    assert jobs.get(pauses.id) is pauses
    assert len(pauses.steps) == done
    jobs.resume(pauses)
    ended(jobs, pauses)
    check_same(pauses, alone)


@pytest.mark.parametrize("at", [7, *at_night(1)])
def test_a_replay_that_is_stopped_has_the_adapters_of_its_step(jobs: Jobs, at: int) -> None:
    config = asked(steps=12)
    whole = press(jobs, "a", config)
    ended(jobs, whole)
    late = press(jobs, "b", config, goal=at)
    seen(jobs, late, lambda race: race.state == "paused")
    jobs.stop(late)
    ended(jobs, late)
    assert late.state == "stopped"
    assert late.steps == whole.steps[: at + 1]
    own = jobs.start(config, goal=at + 1)
    seen(jobs, own, lambda race: race.state == "paused")
    jobs.stop(own)
    ended(jobs, own)
    check_adapters(late, own)


def test_a_paused_race_is_gone_on_with_from_its_last_step(
    jobs: Jobs, alone: BackgroundRace, computed: list[int]
) -> None:
    first = press(jobs, "a", goal=9)
    seen(jobs, first, lambda race: race.state == "paused")
    second = press(jobs, "b")
    ended(jobs, second)
    check_same(second, alone)
    assert computed == [*range(1, STEPS + 1)]
    assert (first.state, len(first.steps)) == ("paused", 9)


def test_own_files_are_never_shared(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"{n} and one", "answer": f"{n + 1}"}) for n in range(12)))
    for config in (replace(LONG, task=str(file)), replace(LONG, keep=str(file))):
        assert race_key(config) == ""
        races = [press(jobs, name, replace(config, steps=1)) for name in "ab"]
        assert [race.source for race in races] == [None, None]


DIFFERENT = {
    "model": "glassllm-pt", "task": "bigger", "lanes": (Lane("olora"),), "schedule": "linear", "batches": "shared",
    "dtype": "float64", "targets": ("q_proj",), "keep": "auto", "max_length": 50, "accumulate": 2, "patience": 3,
    "warmup": 1, "eval_every": 7, "spectra_every": 1, "curvature_every": 1, "gradients_every": 1,
    "keep_best": True, "truncate": True, "chat": True, "forget": 0.5,
    "rows": 50, "epochs": 2.0, "metric": "f1", "objective": "dpo", "base": "nf4",
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(RaceConfig) if field.name not in ("device", "test")])
def test_every_field_of_a_set_up_is_in_its_key(name: str) -> None:
    config = small(keep="auto") if name == "forget" else small()
    value = DIFFERENT.get(name, getattr(config, name) + 1 if name not in DIFFERENT else None)
    assert race_key(config.replace(**{name: value})) != race_key(config) != ""


def test_a_key_has_nothing_but_what_changes_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = race_key(small(device="cpu"))
    monkeypatch.chdir(tmp_path)
    assert race_key(small(device="cpu", dtype="float32")) == key
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert race_key(small(device="cpu")) != key


def test_a_race_that_fails_fails_for_all_and_is_computed_anew_later(jobs: Jobs) -> None:
    blocker, config = press(jobs, "x"), asked(lanes=lane(r=200))
    races = [press(jobs, name, config) for name in "ab"]
    assert races[1].source is races[0]
    jobs.stop(blocker)
    ended(jobs, *races)
    assert [race.state for race in races] == ["failed", "failed"]
    assert races[0].note == races[1].note != ""
    assert press(jobs, "c", config).source is None


def test_a_diverged_race_has_diverged_for_all(jobs: Jobs) -> None:
    config = asked(steps=30, lanes=lane(lr="1e30"))
    first, second = press(jobs, "a", config), press(jobs, "b", config)
    ended(jobs, first, second)
    late = press(jobs, "c", config)
    late.seat.show_at(AT_ONCE)
    ended(jobs, late)
    for race in (second, late):
        assert (race.state, race.note) == ("diverged", first.note)
        assert len(race.steps) == len(first.steps)
        assert race.steps == first.steps


def test_a_race_that_nobody_looks_at_any_more_pauses(jobs: Jobs) -> None:
    first, second = press(jobs, "a", asked(steps=400)), press(jobs, "b", asked(steps=400))
    seen(jobs, second, lambda race: race.steps)
    first.seen -= 1000
    assert jobs.get(second.id) is second
    assert not first.is_unwatched(), "the other page watches it"
    jobs.pause(second)
    first.seen -= 1000
    assert jobs.get(second.id) is second
    wait_until(lambda: first.state == "paused")
    assert "no page watched it" in first.note


def test_after_a_restart_every_visitor_s_race_is_there_and_goes_on(tmp_path: Path, alone: BackgroundRace) -> None:
    with closing(Jobs(folder=tmp_path / "runs")) as jobs:
        done = press(jobs, "a")
        ended(jobs, done)
        config = asked(steps=STEPS, batch=5)
        going = press(jobs, "a", config)
        seen(jobs, going, lambda race: len(race.steps) >= 5)
        live, late = press(jobs, "b", config), press(jobs, "c", LONG)
        seen(jobs, late, lambda race: len(race.steps) >= 1)
        assert (live.source, late.source) == (going, done)
    with closing(Jobs(folder=tmp_path / "runs")) as jobs:
        again = [jobs.get(race.id) for race in (done, going, live, late)]
        assert [race and race.state for race in again] == ["finished", "paused", "paused", "finished"]
        assert again[2] is not None
        assert again[2].note == RESTARTED
        assert again[2].steps == again[1].steps[: len(again[2].steps)]
        assert numbers(again[3]) == numbers(alone)
        check_adapters(again[3], alone)
        jobs.resume(again[2])
        ended(jobs, again[2])
        newcomer = press(jobs, "d")
        assert newcomer.source is not None
        assert numbers(newcomer) == numbers(alone)


def test_a_killed_server_leaves_what_was_known(tmp_path: Path) -> None:
    with closing(Jobs(folder=tmp_path / "runs")) as jobs:
        first, second = press(jobs, "a"), press(jobs, "b")
        seen(jobs, second, lambda race: len(race.steps) >= 5)
        values = json.loads(record_of(second.folder).read_text())
        assert values["follows"] == first.id
        assert not second.folder.exists()
        lines = first.run_folder / "steps.jsonl"
        for path in (record_of(first.folder), record_of(second.folder), first.run_folder / "config.json", lines):
            target = tmp_path / "after" / path.relative_to(jobs.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with closing(Jobs(folder=tmp_path / "after")) as jobs:
        mine = jobs.get(second.id)
        assert mine is not None
        assert mine.state == "paused"
        assert len(mine.steps) >= 5
        assert numbers(mine) == numbers(first)[: len(mine.steps)]


def test_a_follower_without_room_on_the_disk_says_so(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    config = asked(steps=8)
    first, second = press(jobs, "a", config), press(jobs, "b", config)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("olora_viz.web.jobs.shared.copy_run", full)
    ended(jobs, first, second)
    assert first.state == "finished"
    assert (second.state, second.steps) == ("failed", first.steps)
    assert "disk is full" in second.note


def test_a_race_that_is_dropped_leaves_its_files_to_those_that_show_it(tmp_path: Path) -> None:
    config = asked(steps=4)
    with closing(Jobs(Limits(keep_races=1), folder=tmp_path)) as jobs:
        first = press(jobs, "a", config)
        ended(jobs, first)
        jobs.pages.open(visitor("b"), "")
        late = press(jobs, "b", config, goal=1)
        jobs.pages.open(visitor("b"), late.id)
        ended(jobs, press(jobs, "a", asked(steps=1)))
        press(jobs, "a", asked(steps=2))
        assert jobs.get(first.id) is None
        assert not first.folder.exists()
        late.seat.show_at(AT_ONCE)
        jobs.resume(late)
        ended(jobs, late)
        assert late.steps == first.steps
        assert adapters(late.run_folder)


def test_a_prompt_of_one_s_own_is_answered_to_its_visitor_alone(jobs: Jobs) -> None:
    config = asked(steps=40)
    first, second = press(jobs, "a", config), press(jobs, "b", config)
    seen(jobs, second, lambda race: race.source is first and len(race.steps) >= 2)
    limits = Limits()
    rate = Rate(limits.page_prompts, limits.address_prompts)

    def asks() -> bool:
        try:
            return ask(jobs, limits, rate, second.id, "two and two make", visitor("b")) is None
        except ValueError:  # it shows a step less than there is at this moment
            return False

    wait_until(asks)
    ended(jobs, first, second)
    assert first.own_prompt is None
    assert second.own_prompt is not None
    assert second.own_prompt.answer is not None
    assert len(second.own_prompt.answer.lanes) == 1
