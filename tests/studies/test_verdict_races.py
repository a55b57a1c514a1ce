"""The verdict on real races: where the starts cross, at every step, and from every source."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.races import raced, small

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.learn.gallery import GALLERY
from olora_viz.measures.training import Examples
from olora_viz.races.step import RACING
from olora_viz.studies.contest import latest_examples
from olora_viz.studies.statistics import LEAST_EXAMPLES, LEVEL
from olora_viz.studies.verdict_line import CLEAR, ONE_RUN, STILL_OPEN, VerdictLine, verdict_line
from olora_viz.views.race import race_view

RATES = (1e-3, 3e-3, 1e-2)
grid = partial(small, task="sentiment", steps=30, batch_size=8, eval_size=64)
SEEDS = tuple(ov.Lane(init, seed=seed) for init in ("lora", "olora") for seed in range(3))

ORDERED = re.compile(r"\b(is ahead of|is behind|did better|did worse)\b")
PILL = re.compile(r"(clear|level|open) · 3 seeds × (32 of 64|64) examples")


def crossing() -> tuple[tuple[ov.Lane, ...], Examples]:
    """Return a race of LoRA and OLoRA in which LoRA does better at the highest rate alone."""
    lanes = tuple(ov.Lane(init, lr=lr, seed=seed) for init in ("lora", "olora") for lr in RATES for seed in range(3))
    examples = latest_examples(raced(grid(lanes))[1])
    assert examples is not None
    return lanes, examples


def some(examples: Examples, lanes: list[int], count: int | None = None) -> Examples:
    """Return the results of some lanes on the first examples."""
    each = (examples.loss, examples.right)
    results = (of[lanes][:, :count] for of in each)
    return Examples(*results, examples.accuracy_normalized[lanes], examples.boilerplate_loss[lanes])


def agrees(found: VerdictLine) -> None:
    """Hold the pill to what the sentence on the best rates says."""
    first = str(found.sentences[found.unlearned])
    assert (found.certainty == CLEAR) <= bool(ORDERED.search(first))
    assert (found.certainty == LEVEL) <= (not ORDERED.search(first))
    assert ("cannot be told apart" in first) <= (found.certainty in (STILL_OPEN, ONE_RUN))
    assert found.reason.startswith(found.certainty)
    examples, chosen_on = found.basis.examples, found.basis.chosen_on
    assert (f"{examples} of {examples + chosen_on} examples" if chosen_on else f"{examples} example") in found.reason


def test_where_the_starts_cross_the_best_rates_lead_and_one_clause_has_all_shared_ones() -> None:
    lanes, examples = crossing()
    found = verdict_line(lanes, examples, ended=True)
    assert found is not None
    first, *rest = map(str, found.sentences)
    assert re.match(r"Each at its best rate, (OLoRA|LoRA) \((3e-3|1e-2)\) ", first)
    (clause,) = [one for one in rest if "at one rate" in one]
    assert clause.startswith("OLoRA against LoRA at one rate: ")
    assert all(rate in clause for rate in ("1e-3", "1e-2"))
    agrees(found)

    # Three seeds leave the highest rate open; the examples of one seed do not.
    one_seed = [k for k, lane in enumerate(lanes) if lane.seed == 0]
    found = verdict_line([lanes[k] for k in one_seed], some(examples, one_seed), ended=True)
    assert found is not None
    (clause,) = [str(one) for one in found.sentences if "at one rate" in str(one)]
    assert clause == ("OLoRA against LoRA in this run, at one rate: better at 1e-3 and 3e-3, worse at 1e-2.")
    assert str(found).count("at one rate") == 1
    assert str(found).startswith("Each at its best rate, ")
    agrees(found)


def test_the_metric_of_the_default_race_is_fixed_until_its_end_and_every_line_is_well_formed() -> None:
    record = GALLERY["first"]
    going = replace(record, complete=False, state=RACING)
    evaluated = [step.step for step in record.steps if step.eval_examples is not None]
    assert len(evaluated) > 10
    for number in evaluated[:-1]:
        steps = record.steps[:number]
        found = ov.verdict(steps, record.config)
        assert found is not None
        text = str(found)
        learned = found.metric == "accuracy"
        assert found.unlearned == text.startswith("So far no lane has learned the task") != learned
        assert learned or number < evaluated[3], "only at first is nothing learned"
        assert ("nats" in text.partition(" By loss, ")[0]) != learned
        assert re.search(r"At one rate \(1e-3\) \S+ (is|cannot|differs) .+: .+ (right|nats)\.", text)
        assert PILL.fullmatch(found.reason)
        agrees(found)
        for view in (race_view(record, upto=number), race_view(replace(going, steps=steps))):
            shown = re.sub(r"<.*?>", "", view.verdict.replace("\N{NO-BREAK SPACE}", " "))
            known = verdict_line(record.config.lanes, latest_examples(steps), held_out=record.held_out)
            assert known is not None
            assert shown == f"{known.headline} {known.tag}  why, and how sure {known} {known.reason}"
            order = "by loss" if known.unlearned else "by accuracy, ties by loss"
            assert f"on 64 held-out prompts, 3 seeds; sorted {order}" in view.results
    last = ov.verdict(record)
    assert last is not None
    assert last.metric == "accuracy"
    assert "steps fewer than LoRA" in str(last)
    assert "sorted by accuracy, ties by loss" in race_view(record).results
    agrees(last)


def test_a_verdict_is_the_same_of_a_race_its_steps_and_its_folder(tmp_path: Path) -> None:
    race, steps = raced(small(SEEDS, steps=4, eval_every=2, eval_size=24))
    race.save(tmp_path / "run")
    found = ov.verdict(race)
    assert found is not None
    others = [(steps, race), (tmp_path / "run",), (ov.load_run(tmp_path / "run"),)]
    assert {str(ov.verdict(*source)) for source in others} == {str(found)}
    assert repr(found) == "<Verdict, not learned yet: No lane has learned the task: train for more steps.>"
    assert json.loads(json.dumps(found.to_json()))["sentence"] == str(found)
    with pytest.raises(ValueError, match=r"call verdict\(steps, config\)"):
        ov.verdict(steps)


def test_one_lane_and_a_race_without_results_have_no_verdict() -> None:
    race, steps = raced(small((ov.Lane("lora"),)))
    assert ov.verdict(race) is None
    assert ov.verdict(steps[:1], race) is None


def test_on_five_held_out_examples_nothing_is_clear_and_their_number_is_said() -> None:
    lanes, examples = crossing()
    low = [k for k, lane in enumerate(lanes) if lane.lr == RATES[0]]
    pair = [lanes[k] for k in low]
    many = verdict_line(pair, some(examples, low), plain_text=True)
    assert many is not None
    assert (many.certainty, many.leader) == (CLEAR, "olora")
    few = verdict_line(pair, some(examples, low, 5), plain_text=True)
    assert few is not None
    assert (few.certainty, few.leader) == (STILL_OPEN, "")
    assert "cannot be told apart" in str(few.sentences[0])
    assert f"Only 5 held-out examples were compared: fewer than {LEAST_EXAMPLES}" in str(few)
    assert few.reason == "open · 3 seeds × 5 examples"
    assert few.next_step == ""  # neither seeds nor rates would settle it


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_the_verdict_and_by_what_the_table_is_sorted(as_json: bool, capsys, tmp_path: Path) -> None:
    words = ["race", "--model", "glassllm", "--task", "number-words", "--steps", "2"]
    words += ["--lane", "lora:seed=0/1/2", "--lane", "olora:seed=0/1/2", "--eval-size", "24"]
    words += ["--batch-size", "4", "--device", "cpu", "--test-size", "4"]
    folder = tmp_path / "run"
    words += ["--run", str(folder), *(["--json"] if as_json else ["--dtype", "bfloat16"])]
    assert main(words) == 0
    out, found = capsys.readouterr().out, ov.verdict(folder)
    assert found is not None
    if as_json:
        told = json.loads(out.splitlines()[-1])["summary"]["verdict"]
        assert told == found.to_json()
        assert {"sentence", "certainty", "leader", "metric"} <= told.keys()
        assert told["dtype"] == "float32"
        assert "float32" not in found.reason
    else:
        assert found.reason.endswith(" examples · bfloat16 base")
        assert f"{found} ({found.reason})" in out.splitlines()
        assert "sorted by loss, on the held-out examples" in out  # nobody is right by then


def made(means: np.ndarray) -> tuple[list[ov.Lane], np.ndarray]:
    """Return two starts at two rates and their losses, with a little noise.

    Args:
        means: (start, rate)
    """
    rng = np.random.default_rng(0)
    lanes = [ov.Lane(init, lr=lr, seed=seed) for init in ("lora", "olora") for lr in RATES[:2] for seed in range(3)]
    loss = np.repeat(means.reshape(-1), 3)[:, None] + 0.3 * rng.random(64)
    return lanes, loss + 0.02 * rng.normal(size=(12, 1)) + 0.02 * rng.normal(size=(12, 64))


def examples_of(loss: np.ndarray, right: np.ndarray) -> Examples:
    unknown = np.full(len(loss), np.nan)
    return Examples(loss.copy(), right.copy(), unknown, unknown)


def test_an_order_that_turns_at_a_rate_as_good_is_open_and_the_rate_is_named() -> None:
    lanes, loss = made(np.array([[1.2, 1.5], [1.0, 1.5]]))
    found = verdict_line(lanes, examples_of(loss, np.zeros(loss.shape)), plain_text=True)
    assert found is not None
    assert "OLoRA (1e-3) is ahead of LoRA (1e-3)" in str(found)
    assert "turns" not in str(found)
    # On the examples on which rates are chosen, OLoRA's other rate is as good; on the others not.
    loss[9:, ::2] = loss[6:9, ::2] + 0.02 * np.arange(-1, 2)[:, None]
    found = verdict_line(lanes, examples_of(loss, np.zeros(loss.shape)), plain_text=True)
    assert found is not None
    assert "cannot be told apart from LoRA (1e-3)" in str(found.sentences[0])
    assert str(found.sentences[1]) == (
        "But with OLoRA at 3e-3, as good for all the held-out results say, the order turns."
    )
    assert (found.certainty, found.leader) == (STILL_OPEN, "")


@pytest.mark.parametrize(("share", "forced"), [(1.0, True), (0.96, True), (0.9, False), (0.5, False)])
def test_only_the_end_of_a_race_at_a_ceiling_forces_the_loss(share: float, forced: bool) -> None:
    lanes, loss = made(np.array([[1.2, 1.5], [1.0, 1.5]]))
    right = np.tile(np.arange(64) < share * 64, (12, 1)).astype(float)
    for ended in (False, True):
        found = verdict_line(lanes, examples_of(loss, right), ended=ended)
        assert found is not None
        assert found.metric == ("loss" if forced and ended else "accuracy")
        assert str(found).count("By loss, as all are right in") == (forced and ended)
    right[:6] = 0.5  # one start is below it
    found = verdict_line(lanes, examples_of(loss, right), ended=True)
    assert found is not None
    assert found.metric == "accuracy"
