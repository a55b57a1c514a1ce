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
from olora_viz.__main__ import main
from olora_viz.background.chain import BackgroundChain
from olora_viz.background.pace import Speeds
from olora_viz.background.record import Wait
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import BY_NAME
from olora_viz.tasks import TASKS
from olora_viz.views.chain import charts_of_chain
from olora_viz.web.guard.config import tokens_at_most
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.chain import MOST_LINKS, ChainParts, later_links, train_again, view

OF = BY_NAME["objective"].choices
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


def test_each_later_link_learns_from_what_its_entry_names_as_on_the_command_line(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    config = asked(task="sentiment", lanes=PAIR, settings={"keep": "none", "objective": "dpo", "samples": "3"})
    work = put(jobs, config, "sentiment", f"sentiment, from {OF['reinforce']}", f"uppercase, from {OF['dpo']}")
    said: set[str] = set()
    while not work.complete:
        said.add(work.note)
        work.newer(work.version, 0.1)
    assert (work.state, work.note) == ("finished", "")
    assert any(f"link 3 of 4, sentiment, from {OF['reinforce']}: step" in each for each in said)
    main(
        "race --chain --task sentiment,sentiment,sentiment,uppercase --objective dpo,imitation,reinforce,dpo "
        "--steps 5 --batch-size 4 --samples 3 --eval-size 4 --test-size 4 --eval-every 0 --keep none --json "
        "--lane lora:r=4,lr=1e-3 --lane olora:r=4,lr=3e-3".split()
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["chain"]
    assert work.chain is not None
    assert work.chain.objectives == ("dpo", "imitation", "reinforce", "dpo")
    assert (work.chain.links, work.chain.base) == (told["links"], told["base"])
    learned = "; ".join(f"link {i} learned from {OF[each]}" for i, each in ((1, "dpo"), (3, "reinforce"), (4, "dpo")))
    assert f"has risen since; {learned}." in words(shown(work).words)
    for figure in charts_of_chain(work.chain).values():
        assert figure["layout"]["meta"]["unit"].endswith(f"; {learned}")


def test_where_every_link_learns_from_right_answers_no_words_name_them(jobs: Jobs) -> None:
    work = wait(put(jobs, asked(steps=2), "uppercase"))
    assert work.chain is not None
    texts = [f"{figure['layout']}" for figure in charts_of_chain(work.chain).values()]
    assert not any("learned from" in text for text in [*texts, words(shown(work).words)])


def test_the_share_of_right_answers_stands_beside_the_losses(jobs: Jobs) -> None:
    work = wait(put(jobs, asked(task="sentiment", lanes=lane(lr="1e-2"), steps=20), "bigger"))
    assert work.chain is not None
    results = work.chain.links[-1]["lanes"]["lora"]["results"].values()
    mean = sum(of_task["accuracy"] for of_task in results) / 2
    assert 0 < mean < 1
    assert re.search(rf"drift|intruders right .* {mean:.0%} ", words(shown(work).words))


def test_a_list_offers_each_task_from_all_that_it_has(jobs: Jobs) -> None:
    offered = later_links()
    assert list(offered)[: len(TASKS)] == list(TASKS), "as before, right answers first"
    for task in TASKS:
        assert [objective for name, objective in offered.values() if name == task] == (
            ["imitation"] if task == "text" else ["imitation", "dpo", "reinforce"]
        )
    with pytest.raises(ValueError, match=r"needs prompts with answers, and 'text' is plain text"):
        ov.race(replace(asked(), task="text", objective="dpo"))


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
        (["/etc/passwd"], "unknown later task of a chain '/etc/passwd'; choose from addition, number-words, "),
        ([["addition"]], "unknown later task of a chain .*; did you mean 'addition'"),
        ([{"addition": "dpo"}], "unknown later task of a chain"),
        (["addition, from teachers"], "unknown later task of a chain 'addition, from teachers'; did you mean"),
        ([f"text, from {OF['dpo']}"], "unknown later task of a chain 'text, from preferences "),
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
    drawing = f"addition, from {OF['reinforce']}"
    with pytest.raises(ValueError, match=r"a fair rate is for learning from right answers, not for .* reinforce"):
        put(jobs, asked(lanes=[*LANES, *lane(init="olora", lr="fair")]), "addition", drawing)
    few = replace(LIMITS, max_tokens=8 * tokens_at_most(asked()) - 1)
    with pytest.raises(ValueError, match=r"1 lane with 4 prompts, 8 answers each, of up to .* at most"):
        train_again(jobs, few, asked(), ["addition", drawing])
    assert wait(train_again(jobs, few, asked(), ["uppercase"])).state == "finished"


def test_a_chain_takes_as_long_as_its_links(jobs: Jobs) -> None:
    work, speeds = wait(put(jobs, asked(), "uppercase", "addition")), Speeds()
    work.config, work.spent = replace(work.config, device="auto"), 30.0
    speeds.learn(work)
    forecast = speeds.forecast(work.config, BackgroundChain)
    assert forecast is not None
    assert forecast.seconds == pytest.approx(10.0), "of one of three"
    assert replace(work, then=(("addition", "dpo"), ("sentiment", "reinforce"))).races == 1 + 2 + work.config.samples
