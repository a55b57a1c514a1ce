"""A set-up goes into a link and comes back as it was; a bad link gets one sentence."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes, write_lane
from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import BY_NAME, ORDERS_OF_BATCHES
from olora_viz.tasks import TASKS
from olora_viz.views.html import problem
from olora_viz.web.guard.config import checked_config, problems
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.setup import SetUp, possible, rows_of
from olora_viz.web.race import arrival as share
from olora_viz.web.race.arrival import read_address

LIMITS = Limits()
SHARED = (Path(__file__).parents[1] / "data" / "links.txt").read_text("utf-8")
"""Links that were shared, and what each means."""

WHOLE = st.integers(0, 2**31 - 1)
POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)
OF_THE_TABLE = st.builds(
    Lane,
    st.sampled_from(sorted(INITIALIZERS)),
    lr=POSITIVE,
    r=st.integers(1, LIMITS.max_rank),
    alpha=st.none() | POSITIVE | st.sampled_from(["2r", "r/4", "sqrt(r)*4"]),
    seed=WHOLE,
)
MORE = st.fixed_dictionaries(
    {},
    optional={
        "schedule": st.sampled_from(SCHEDULES),
        "warmup": st.just("0"),
        "weight_decay": st.floats(0, 1e9).map(str),
        "clip": st.just("") | POSITIVE.map(str),
        "targets": st.sampled_from(["", "q_proj, v_proj", "layers.[01].*"]),
        "batches": st.sampled_from(ORDERS_OF_BATCHES),
        "rows": st.just("") | st.integers(1, 10**6).map(str),
        "eval_size": st.integers(1, 512).map(str),
        "keep_best": st.sampled_from(["0", "1"]),
        "truncate": st.sampled_from(["0", "1"]),
        "chat": st.sampled_from(["0", "1"]),
        "patience": st.just("") | st.integers(1, 200).map(str),
        "metric": st.sampled_from([*BY_NAME["metric"].choices, "number:0.01"]),
    },
)
LABEL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._+@=#-]{0,47}(?<! )", fullmatch=True)
ANY_OF = partial(
    st.builds,
    Lane,
    lr=POSITIVE,
    r=st.integers(1, 10**6),
    alpha=st.none() | POSITIVE | st.sampled_from(["2r", "r/4", "sqrt(r)*4"]),
    seed=WHOLE,
    weight_decay=st.floats(0, 1e9),
    clip=st.none() | POSITIVE,
    rslora=st.booleans(),
    beta1=st.floats(0, 0.9),
    beta2=st.floats(0.82, 1, exclude_max=True),
    lora_plus=POSITIVE,
    schedule=st.none() | st.sampled_from(SCHEDULES),
    warmup=st.none() | WHOLE,
    label=st.none() | LABEL,
)
DENSE = [name for name, its in INITIALIZERS.items() if its.dense]
ANY = (
    ANY_OF(st.sampled_from(DENSE))
    | ANY_OF(st.sampled_from(sorted({*INITIALIZERS} - {*DENSE})), dropout=st.floats(0, 1, exclude_max=True))
    | st.builds(Lane, st.just("olora"), dim=st.integers(1, 10**6), lr=POSITIVE)
)


@given(ANY)
def test_a_lane_in_words_reads_back_as_the_same_lane(lane: Lane) -> None:
    assert parse_lanes(write_lane(lane)) == [lane]


def test_a_fair_lane_stays_fair_and_a_comma_in_a_label_is_refused() -> None:
    assert parse_lanes(write_lane(Lane("olora", fair=True)))[0].fair
    with pytest.raises(ValueError, match=re.escape("label 'a,b' has a comma")):
        write_lane(Lane("olora", label="a,b"))


@settings(max_examples=60)
@given(
    model=st.sampled_from(LIMITS.models),
    task=st.sampled_from(sorted(TASKS)),
    steps=st.integers(1, LIMITS.max_steps),
    batch=st.integers(1, LIMITS.max_batch),
    seed=WHOLE,
    curvature=st.integers(0, LIMITS.max_steps),
    lanes=st.lists(OF_THE_TABLE, min_size=1, max_size=6),
    more=MORE,
    start=st.booleans(),
)
def test_a_set_up_of_the_page_comes_back_from_its_link_as_it_was(
    model: str,
    task: str,
    steps: int,
    batch: int,
    seed: int,
    curvature: int,
    lanes: list[Lane],
    more: dict[str, str],
    start: bool,
) -> None:
    config = checked_config(
        LIMITS, model=model, task=task, steps=steps, batch=batch, seed=seed,
        curvature=curvature, lanes=rows_of(lanes), settings=more,
    )  # fmt: skip
    setup = SetUp.of_page(config)
    assert list(setup.lanes) == lanes
    assert setup.to_config(LIMITS) == config
    text = setup.to_query()
    link = share.read(LIMITS, f"?{text}&start=1" if start else text)
    assert link == share.Link(setup, start)
    # What the controls then show is the same set-up once more.
    assert SetUp.from_controls(LIMITS, setup.to_controls()) == setup


def links() -> list[tuple[str, dict]]:
    lines = [line for line in SHARED.splitlines() if not line.startswith("#")]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return [(query.replace("(empty)", ""), json.loads(meaning)) for query, meaning in pairs]


@pytest.mark.parametrize(("query", "meaning"), links())
def test_a_link_that_was_shared_means_what_it_meant(query: str, meaning: dict) -> None:
    if "refused" in meaning:
        with pytest.raises(ValueError, match=re.escape(meaning["refused"])):
            share.read(LIMITS, query)
        return
    link = share.read(LIMITS, query)
    said: dict = {}
    if link.setup:
        lanes = [write_lane(lane) for lane in link.setup.lanes]
        said["set_up"] = {**link.setup.values(), "lanes": lanes}
        # Links from before the fold "More settings" mean its defaults.
        if not (changed := link.setup.settings.changed()):
            del said["set_up"]["settings"]
        else:
            said["set_up"]["settings"] = changed
    said |= {"start": True} if link.start else {}
    said |= {"lesson": link.lesson} if link.lesson else {}
    said |= {"notes": len(link.notes)} if link.notes else {}
    assert said == meaning


def test_a_visitor_s_own_file_is_kept_by_the_controls_and_told_by_no_link() -> None:
    setup = replace(SetUp.first(LIMITS), task="file:abc")
    assert setup.to_controls().task == "file:abc"
    assert "task=your-file&" in setup.to_query()
    assert "abc" not in setup.to_query()
    back = SetUp.from_query(LIMITS, setup.to_query())
    assert back == replace(setup, task="your-file")
    raced = replace(setup, task="your-file.jsonl")
    assert raced.to_controls().task == gr.skip()
    assert raced.to_controls(keep=("steps",)).steps == gr.skip()


@settings(max_examples=100)
@given(ANY, st.booleans())
def test_a_lane_with_any_keys_comes_back_from_the_table_and_from_a_link(lane: Lane, beside: bool) -> None:
    lane = replace(lane, r=min(lane.r, LIMITS.max_rank), warmup=min(lane.warmup, 59) if lane.warmup else lane.warmup)
    setup = SetUp.of(RaceConfig(lanes=(lane, *([Lane("mica", weight_decay=0.5)] if beside else []))))
    config = setup.to_config(LIMITS)
    assert config.lanes[0] == lane
    again = SetUp.from_query(LIMITS, setup.to_query())
    assert again is not None
    assert again.to_config(LIMITS) == config


@pytest.mark.parametrize("rest", ["x" * 501, "lr", "clip=-1", "seed=0-3", "lr=1", 7, "label=<b>", "targets="])
def test_other_keys_of_a_row_get_a_sentence_where_they_are_wrong(rest: object) -> None:
    row = {**rows_of([Lane("lora")])[0], "rest": rest}
    (sentence,) = problems(LIMITS, [row])
    assert sentence
    assert "\n" not in sentence


def test_a_race_that_the_server_forbids_is_no_set_up_of_the_page() -> None:
    assert possible(LIMITS, RaceConfig(forget=0.1)) is None
    assert possible(Limits(max_steps=9), RaceConfig()) is None
    assert possible(LIMITS, RaceConfig()) == SetUp.first(LIMITS)


def test_what_a_link_leaves_out_never_changes() -> None:
    setup = share.read(LIMITS, "steps=7").setup
    assert setup is not None
    assert setup.steps == 7
    assert (setup.model, setup.task) == (LIMITS.models[0], "number-words")
    assert [f"{lane.init} {lane.lr:g}" for lane in setup.lanes] == [
        "lora 0.001", "lora 0.003", "olora 0.001", "olora 0.003", "pissa 0.001",
    ]  # fmt: skip
    sweep = share.read(LIMITS, "lane=olora:lr=1e-3/3e-3,r=4&lane=lora").setup
    assert sweep is not None
    assert [lane.lr for lane in sweep.lanes] == [1e-3, 3e-3, 1e-3]


@pytest.mark.parametrize("text", ["", "?", "hide=story,take", "lesson=qr", "__theme=dark"])
def test_a_link_without_a_set_up_leaves_the_page_as_it_is(text: str) -> None:
    lesson = "qr" if "lesson" in text else None
    assert share.read(LIMITS, text) == share.Link(lesson=lesson)


def test_names_that_mean_nothing_are_noted_and_left_out() -> None:
    link = share.read(LIMITS, "hide=story,stroy&utm_source=mail&steps=3&step=5")
    assert link.setup is not None
    assert link.setup.steps == 3
    assert len(link.notes) == 3
    assert any("'stroy'; did you mean 'story'?" in note for note in link.notes)
    assert any("'step'; did you mean 'steps'" in note for note in link.notes)
    assert len(share.read(LIMITS, "&".join(f"x{n}=1" for n in range(50))).notes) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model=gpt-9", "unknown model 'gpt-9'"),
        ("model=../../etc", "unknown model '../../etc'"),
        ("task=/etc/passwd", "unknown task '/etc/passwd'"),
        ("task=hf:owner/name", "unknown task 'hf:owner/name'"),
        ("steps=1e9", "steps must be a whole number from 1 to 2000, not '1e9'"),
        ("steps=", "steps must be a whole number from 1 to 2000, but its field is empty"),
        ("steps=5&steps=6", "steps occurs twice in the link"),
        ("batch=0", "prompts per step must be a whole number from 1 to 64, not '0'"),
        ("seed=-1", "seed of the race must be a whole number from 0 to 2147483647, not '-1'"),
        ("curvature=x", "steps between curvature measurements must be"),
        ("schedule=step", "unknown schedule 'step'"),
        ("steps=9&warmup=9", "warm-up steps must be a whole number from 0 to 8, not '9'"),
        ("weight_decay=-1", "weight decay must be a number of at least 0, not '-1'"),
        ("clip=0", "gradient clipping must be a positive number, not '0'"),
        ("targets=q_proj,../etc", "a target module must be at most 80 letters, digits and . _ -"),
        ("steps=2000&eval_every=9", "steps between evaluations must be a whole number from 10 to"),
        ("batches=mine", "unknown batches 'mine'"),
        ("eval_size=513", "held-out examples must be a whole number from 1 to 512, not '513'"),
        ("keep_best=yes", "keep_best must be 0 or 1, not 'yes'"),
        ("chat=true", "chat must be 0 or 1, not 'true'"),
        (
            "metric=bleu",
            "unknown metric 'bleu'; choose from auto, none, exact, first-word, number, f1, chrf, or number:",
        ),
        ("metric=number:-1", "the tolerance of a number is a share of at least 0, such as number:0.01, not '-1'"),
        ("metric=", "unknown metric ''"),
        ("metric=rewards.py:score", "unknown metric 'rewards.py:score'; choose from auto"),
        ("metric=python:score", "the metric 'score' was a Python function, and only its name is kept: pass it again"),
        ("patience=0", "evaluations without improvement must be a whole number from 1 to 200"),
        ("start=yes", "start must be 0 or 1, not 'yes'"),
        ("lane=olra", "unknown initialization 'olra'; did you mean 'olora'"),
        ("lane=olora:r=257", "rank must be a whole number from 1 to 256, not 257"),
        ("lane=olora:lr=nan", "learning rate must be a positive number, not nan"),
        ("lane=olora:dropout=2", "dropout must be a number from 0 to below 1, not 2.0"),
        ("lane=recipe:unslot", "unknown recipe 'unslot'; did you mean 'unsloth'"),
        ("lane=olora:seed=0/1/2&" + "lane=lora&" * 62, "a race takes 1 to 64 lanes, not 65"),
        ("x" * 9000, "a link must be a text of at most 8192 characters"),
        (None, "a link must be a text"),
        ({"steps": 3}, "a link must be a text"),
    ],
)
def test_a_bad_link_is_refused_in_one_sentence(text: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        share.read(LIMITS, text)
    assert "\n" not in str(caught.value)
    found = read_address(LIMITS, {"query": text, "own": True})
    assert (found.link, found.own, found.notes) == (share.Link(), False, "")
    assert sentence in found.refused


@given(st.text(max_size=60) | st.from_regex(r"(lane|steps|hide|start)=[ -~]{0,30}", fullmatch=True))
def test_any_text_gives_a_set_up_or_a_sentence_that_holds_no_markup(text: str) -> None:
    found = read_address(LIMITS, {"query": text})
    words = found.notes + problem(found.refused)
    assert "<script" not in words
    assert words.count("<p") == words.count("</p>") <= 3


@pytest.mark.parametrize("address", [None, 3, [], {"query": 5}, {"own": "yes"}])
def test_an_address_of_any_other_kind_asks_for_nothing(address: object) -> None:
    link, own, *_ = read_address(LIMITS, address)
    assert link == share.Link()
    assert not own


def test_a_link_asks_for_the_text_of_the_package_and_for_no_file() -> None:
    limits = Limits()
    for query, keep in (("keep=auto", "auto"), ("lane=olora", "auto"), ("keep=none", "none")):
        setup = SetUp.from_query(limits, f"steps=20&lane=olora&{query}")
        assert setup is not None
        assert setup.to_config(limits).keep == keep
        assert ("keep=none" in setup.to_query()) == (keep == "none")
        assert "keep=auto" not in setup.to_query()
    for other in ("/etc/passwd", "addition", ""):
        with pytest.raises(ValueError, match="text to keep"):
            SetUp.from_query(limits, f"steps=20&keep={other}")
    of_a_run = SetUp.of(RaceConfig(keep="notes.txt"))
    assert "keep=your-file" in of_a_run.to_query()
    with pytest.raises(ValueError, match=r"unknown text to keep 'notes\.txt'"):
        of_a_run.to_config(limits)
