"""A chain on the page: it is that of `ov.chain`, and stops, failures and refusals are sentences that lose nothing."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.measuring import words
from support.queued import LANES, asked, lane, wait
from support.waiting import wait_until

import olora_viz as ov
from olora_viz.background.chain import BackgroundChain
from olora_viz.background.pace import Speeds
from olora_viz.background.record import Wait
from olora_viz.races.config import RaceConfig
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.chain import MOST_LINKS, ChainParts, train_again, view

PAIR = [*LANES, LANES[0] | {"init": "olora", "lr": "3e-3"}]
LIMITS = Limits(max_steps=10_000)


def put(jobs: Jobs, config: RaceConfig, *then: object) -> BackgroundChain:
    return train_again(jobs, LIMITS, config, list(then))


def shown(work: BackgroundChain) -> ChainParts:
    return view(work, Wait(), last=True)


def test_the_page_s_chain_is_that_of_python_and_says_what_it_kept(jobs: Jobs) -> None:
    config = asked(lanes=PAIR)
    work = wait(put(jobs, config, "uppercase", "addition"))
    assert (work.state, work.note) == ("finished", "")
    expected = ov.chain(config, ["addition", "uppercase", "addition"])
    for link in expected:
        assert len(list(link)) == config.steps
    assert work.chain is not None
    assert (work.chain.links, work.chain.base) == (expected.links, expected.base)
    assert re.search(r"Lowest mean loss .*: O?LoRA .* With fewer than three seeds", words(shown(work).words))
    assert re.search(r"lost since moved intruders .* Moved: .* Intruders: ", words(shown(work).words))
    figures = shown(work).figures["figures"]
    assert list(figures) == ["chain", "chain-0", "chain-1"], "a matrix, and a figure for each task"


def test_of_a_visitor_s_own_file_a_chain_says_no_path(jobs: Jobs, tmp_path: Path) -> None:
    own = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"{n} and {n} make", "answer": f" {2 * n}"} for n in range(40)]
    own.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    work = wait(put(jobs, replace(asked(), task=str(own)), "addition"))
    assert work.state == "finished", work.note
    assert work.chain is not None
    assert work.chain.tasks == (own.name, "addition")
    assert str(tmp_path) not in json.dumps(work.results) + str(shown(work))


def test_a_stop_keeps_the_links_that_have_ended_and_gives_the_model_back(jobs: Jobs) -> None:
    work = put(jobs, asked(steps=40), "uppercase", "addition")
    wait_until(lambda: "link 2" in work.note)
    assert work.part >= 1 / 3
    jobs.stop(work)
    wait(work)
    assert work.state == "stopped"
    assert work.chain is not None
    assert [link["task"] for link in work.chain.links] == ["addition"]
    assert "chain" in shown(work).figures["figures"]
    assert shown(work).words == "", "what was kept is known at the end"
    assert wait(put(jobs, asked(), "uppercase")).state == "finished", "another one races as if nothing had been"


def test_lanes_that_diverge_are_named(jobs: Jobs) -> None:
    work = wait(put(jobs, asked(lanes=[*PAIR, PAIR[0] | {"lr": "1e9"}], steps=3), "uppercase"))
    assert re.search(r"Diverged, and left the chain: lora.*1e9", words(shown(work).words))


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ([], "choose the tasks"),
        (None, "choose the tasks"),
        ("uppercase", "choose the tasks"),
        (["/etc/passwd"], "a later task of a chain is one of .*, not '/etc/passwd'"),
        ([["addition"]], "a later task of a chain is one of"),
        (["addition"] * MOST_LINKS, f"at most {MOST_LINKS} tasks, not {MOST_LINKS + 1}"),
    ],
)
def test_what_is_no_chain_is_refused_in_a_sentence(jobs: Jobs, then: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        train_again(jobs, LIMITS, asked(), then)


def test_a_chain_keeps_the_limits_of_a_race(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="2 tasks of 6,000 steps each are 12,000 steps, more than 10,000"):
        put(jobs, asked(steps=6000), "addition")
    with pytest.raises(ValueError, match="eva starts from data"):
        put(jobs, asked(lanes=lane(init="eva")), "addition")


def test_a_chain_takes_as_long_as_its_links(jobs: Jobs) -> None:
    work, speeds = wait(put(jobs, asked(), "uppercase", "addition")), Speeds()
    work.config, work.spent = replace(work.config, device="auto"), 30.0
    speeds.learn(work)
    forecast = speeds.forecast(work.config, BackgroundChain)
    assert forecast is not None
    assert forecast.seconds == pytest.approx(10.0), "of one of three"
