"""Work that goes to another folder as plain values finds what it would have found here."""

import pickle
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.measuring import LAYER
from support.races import PAIR, small
from support.waiting import wait_until

from olora_viz.background import study as background
from olora_viz.background.chain import BackgroundChain
from olora_viz.background.elsewhere import Parcel, compute, take
from olora_viz.background.host import Host
from olora_viz.background.measurement import BackgroundMeasurement, Slicing
from olora_viz.background.race import FINAL_ANSWERS, BackgroundRace, final_answers
from olora_viz.background.study import BackgroundStudy, Deciding
from olora_viz.background.wishes import Heard
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.theme import lane_styles
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig

CONFIG = small(steps=8, eval_every=4, eval_size=8)


class Sent(Host):
    """Has work computed in another folder."""

    def compute(self, work: BackgroundWork) -> bool | None:
        return send(work)


def send(work: BackgroundWork) -> bool | None:
    """Compute a turn from what was sent, in a folder that is gone afterwards."""
    parcel = pickle.loads(pickle.dumps(Parcel.of(work, 1, work.wish())))

    def hear(number: int) -> Heard:
        time.sleep(0.005)
        return Heard(number + 1, work.wish())

    (ended,) = filter(None, [take(work, pickle.loads(pickle.dumps(news))) for news in compute(parcel, hear)])
    assert not list(Path(tempfile.gettempdir()).glob(f"olora-viz-{work.name}"))
    if ended.problem:
        raise ValueError(ended.problem)
    if ended.paused:
        work.rest()
    return ended.paused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / f"elsewhere-{tmp_path.name}"


def race_in(folder: Path, config: RaceConfig = CONFIG, **more: Any) -> BackgroundRace:
    return BackgroundRace(folder.name, config, folder, lane_styles(config.lanes), host=Sent(), **more)


def own_file(folder: Path) -> Path:
    path = folder.with_name("mine.csv")
    path.write_text("prompt,answer\n" + "".join(f"{n} doubled is,{2 * n}\n" for n in range(240)), "utf-8")
    return path


def test_a_race_in_turns_is_bitwise_the_race_and_leaves_the_same_files(folder: Path) -> None:
    own, here = own_file(folder), folder.with_name("here")
    config = small(steps=8, eval_every=4, eval_size=8, task=str(own))
    whole = list(runs.start(config, here))
    race = race_in(folder, small(steps=8, eval_every=4, eval_size=8, task=own.name), goal=3, own_files={"task": own})
    race.compute()
    assert race.steps == whole[:3]
    race.resume()
    race.compute()
    assert (race.state, race.complete, race.note) == ("finished", True, "")
    assert race.steps == runs.read_steps(folder) == whole
    assert (folder / "config.json").read_bytes() == (here / "config.json").read_bytes()
    names = [sorted(path.relative_to(at) for path in at.rglob("*")) for at in (folder, here)]
    assert names[0] == names[1]
    for file in here.rglob("*.safetensors"):
        if "adapters" in file.parts:
            assert (folder / file.relative_to(here)).read_bytes() == file.read_bytes()
    assert race.record().answers == final_answers(runs.restored(here))


def test_a_race_is_paused_asked_and_stopped_from_afar(folder: Path) -> None:
    race = race_in(folder, small(steps=4000))
    race.start()
    wait_until(lambda: race.steps)
    assert race.ask("Say something:")
    wait_until(lambda: race.own_prompt is not None and not race.own_prompt.waits)
    assert race.own_prompt is not None
    assert race.own_prompt.answer is not None
    assert len(race.own_prompt.answer.lanes) == len(PAIR)
    race.pause()
    race.wait_for_pause()
    made = len(race.steps)
    race.resume()
    wait_until(lambda: len(race.steps) > made)
    race.stop()
    assert race.wait(60)
    assert (race.state, race.cut_off) == ("stopped", False)
    assert len(race.record().answers) == FINAL_ANSWERS
    assert len(list(folder.glob("adapters/*/*.safetensors"))) == len(PAIR)


def test_what_is_wrong_with_a_visitor_s_file_names_it_as_the_visitor_does(folder: Path) -> None:
    own = folder.with_name("mine.csv")
    own.write_text("prompt,answer\n", "utf-8")
    race = race_in(folder, small(task=own.name), own_files={"task": own})
    race.compute()
    assert race.state == "failed"
    assert race.note.startswith("mine.csv has")
    assert tempfile.gettempdir() not in race.note


def test_a_measurement_is_that_of_this_process_and_what_is_cut_takes_it_along(folder: Path) -> None:
    config, found = small(PAIR[1:], eval_size=1), []
    for where in (Host(), Sent()):
        styles = lane_styles(config.lanes)
        measured = BackgroundMeasurement(folder.name, config, folder, styles, host=where, layer=LAYER)
        measured.compute()
        assert measured.state == "finished", measured.note
        found.append(measured)
    here, there = (work.result for work in found)
    np.testing.assert_array_equal(here.hessian.lambda_max, there.hessian.lambda_max)
    cut = Slicing(folder.name, config, folder, found[1].styles, measured=found[1], chosen=(0,))
    made = pickle.loads(pickle.dumps(cut))
    np.testing.assert_array_equal(made.measured.result.grad_norm, here.grad_norm)


def test_a_chain_is_that_of_this_process(folder: Path) -> None:
    config, found = small(eval_size=4), []
    own = own_file(folder)
    for where in (Host(), Sent()):
        work = BackgroundChain(
            folder.name, replace(config, task=own.name), folder, lane_styles(config.lanes), host=where,
            own_files={"task": own}, then=(("addition", "dpo"),),
        )  # fmt: skip
        work.compute()
        assert work.state == "finished", work.note
        found.append(work.results)
    here, there = found
    assert here["links"] == there["links"]
    assert there["tasks"] == [own.name, "addition"], "as the visitor calls it, not as it is called there"
    assert there["objectives"] == ["imitation", "dpo"]


def test_a_decision_goes_on_in_its_next_turn_and_its_paths_are_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "TURN", 0.0)
    own, few = own_file(folder), {"seeds": 1, "lr": (1e-3,), "steps": 2, "batch_size": 4, "eval_size": 8}
    work = BackgroundStudy(
        folder.name, small(task=own.name), folder, lane_styles(PAIR), host=Sent(), own_files={"task": own},
        question=Deciding({**few, "compare": ["olora"], "r": 2, "threads": 1}), minutes=5,
    )  # fmt: skip
    monkeypatch.setattr(Sent, "yields", lambda _: work.known is not None and work.known.lanes < 2)
    turns = 0
    while not work.complete:
        work.compute()
        turns += 1
    assert (work.state, work.note) == ("finished", ""), work.note
    assert turns > 1
    assert work.known is not None
    assert work.known.folder == folder
    assert work.known.adapter is not None
    assert (work.known.adapter / "adapter_config.json").is_relative_to(folder)
    assert (work.known.adapter / "adapter_config.json").is_file()
