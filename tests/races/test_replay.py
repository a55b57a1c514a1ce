"""Lanes that replay the text to keep: gradients by an explicit model, other lanes' bits, what is replayed."""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.races import resumed, small, steps_of
from torch import Tensor
from torch.func import functional_call

import olora_viz as ov
from olora_viz.lanes.lane import Lane
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.replay import PASSAGES_A_STEP, Replay
from olora_viz.races.trainer import backward
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.keep import MOST_REPLAYED, OF_PACKAGE, TextToKeep

KINDS = (
    Lane("lora", r=2, lr=3e-3, replay=0.3),
    Lane("olora", r=3, lr=1e-3, alpha=5, keep_kl=0.7),
    Lane("pissa", r=2, lr=1e-3),
    Lane("mica", r=2, lr=1e-3, replay=0.2, keep_kl=2.0, replay_from="base"),
    Lane("full", lr=1e-4, replay=0.1, replay_from="base", seed=1),
)
REPLAYING = partial(small, keep="auto", batches="by-seed", steps=3)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many samples the base draws here: each takes as long as a step."""
    monkeypatch.setattr("olora_viz.races.replay.MOST_REPLAYED", count := 6)
    return count


def replay_of(running: Race) -> Replay:
    """Return what a race replays."""
    replay = running._trainer._replay
    assert replay is not None
    return replay


def text_of(running: Race) -> TextToKeep:
    """Return the text that a race keeps."""
    text = running.data.text
    assert text is not None
    return text


def explicit(running: Race, k: int, number: int) -> list[Tensor]:
    """Return the gradient of lane k's A and B, layer after layer, by autograd through a model without lanes."""
    lanes, data, lane = running.lanes, running.data, running.config.lanes[k]
    model, theta, weights = lanes.base(), [], {}
    for layer in lanes.layers:
        now, start = lanes.factors(layer, k), lanes.start_factors(layer, k)
        A, B = (factor.clone().requires_grad_() for factor in (now.A, now.B))
        change = A - start.A if lane.is_dense else lane.scale * (B @ A - start.B @ start.A)
        weights[f"{layer}.weight"] = lanes.plan.weight(layer).detach() + change
        theta += [A, B]

    def logs(ids: tuple[int, ...], at: int, given: dict[str, Tensor]) -> Tensor:
        return (
            functional_call(model, given, kwargs={"input_ids": torch.tensor([ids])})
            .logits[0, at - 1 : -1]
            .log_softmax(-1)
        )

    def mean(losses: list[Tensor]) -> Tensor:
        return torch.cat(losses).mean()

    def nll(example: Encoded) -> Tensor:
        return F.nll_loss(
            logs(example.ids, example.supervised_from, weights), torch.tensor(example.ids[example.supervised_from :]),
            reduction="none",
        )  # fmt: skip

    order = running.config.order(lane)
    loss = (1 - lane.replay) * mean([nll(example) for example in data.examples(number, order)])
    if lane.replays:
        replay = replay_of(running)
        read = [replay.passages[lane.replay_from][i] for i in replay.chosen(number, order, lane.replay_from)]
        drift = []
        for each in read:
            q, p = (logs(each.ids, each.supervised_from, given) for given in (weights, {}))
            drift.append((p.exp() * (p - q)).sum(1))
        loss = loss + lane.replay * mean([nll(each) for each in read]) + lane.keep_kl * mean(drift)
    return list(torch.autograd.grad(loss, theta, allow_unused=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_the_gradient_is_that_of_an_explicit_model_and_the_reported_loss_is_the_task_s(parts: int) -> None:
    running = race(REPLAYING(KINDS, dtype="float64", accumulate=parts))
    next(running)
    next(running)
    trainer, lanes, data = running._trainer, running.lanes, running.data
    orders = [running.config.order(lane) for lane in KINDS]
    losses = backward(lanes, data, 3, orders, trainer._footprint, replay=replay_of(running))
    with torch.no_grad():
        plain = data.losses([data.batch(3, order) for order in orders])
    torch.testing.assert_close(losses, plain, rtol=1e-9, atol=0)
    for k, lane in enumerate(KINDS):
        gradients = iter(explicit(running, k, 3))
        for layer, A, B in zip(lanes.layers, gradients, gradients, strict=False):
            ours = lanes.gradient(layer, k)
            torch.testing.assert_close(ours.A, A, rtol=1e-6, atol=1e-9)
            if not lane.is_dense and lane.init != "mica":  # whose B is frozen
                torch.testing.assert_close(ours.B, B, rtol=1e-6, atol=1e-9)
    assert next(running).loss == pytest.approx(losses.tolist(), rel=1e-9)


def test_lanes_that_replay_nothing_have_the_bits_of_a_race_in_which_none_does() -> None:
    mixed = (Lane("lora", r=2), Lane("olora", r=2, replay=0.2), Lane("pissa", r=2, keep_kl=1.0), Lane("full"))
    without = tuple(lane.replace(replay=0.0, keep_kl=0.0) for lane in mixed)
    beside, alone = (race(REPLAYING(lanes)) for lanes in (mixed, without))
    for ours, theirs in zip(beside, alone, strict=True):
        assert np.array_equal(ours.loss[[0, 3]], theirs.loss[[0, 3]])
        assert np.array_equal(ours.grad_norm[[0, 3]], theirs.grad_norm[[0, 3]])
    same = (beside.lanes.theta == alone.lanes.theta).all(1).tolist()
    assert same == [True, False, False, True]


def test_without_a_share_or_a_weight_nothing_is_replayed() -> None:
    plain, none = (REPLAYING((Lane("lora", r=2, replay_from=source),)) for source in ("text", "base"))
    assert [step.loss.tolist() for step in steps_of(plain)] == [step.loss.tolist() for step in steps_of(none)]
    assert race(none)._trainer._replay is None


@pytest.mark.parametrize("lane", [KINDS[0], KINDS[3], Lane("lora", r=2, lr=0.03, dim=50, replay=0.1, dropout=0.2)])
def test_a_lane_beside_others_trains_as_it_does_alone(lane: Lane) -> None:
    alone, beside = (
        race(REPLAYING(lanes, dtype="float64")) for lanes in ((lane,), (Lane("olora", r=4), lane, *KINDS))
    )
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_allclose(one.grad_norm[0], other.grad_norm[1], rtol=1e-8)
        np.testing.assert_allclose(one.loss[0], other.loss[1], rtol=1e-8)


def test_a_race_that_goes_on_is_bitwise_the_same() -> None:
    config = REPLAYING((*KINDS, Lane("lora", r=2, lr=0.03, dim=9, keep_kl=0.5, dropout=0.2)), eval_every=1)
    whole, rest = race(config), resumed(config, 1)
    steps = list(whole)
    assert list(rest) == steps[1:]
    assert torch.equal(rest.lanes.theta, whole.lanes.theta)


def places(passage: tuple[int, ...], ids: list[int]) -> set[int]:
    """Return where in a text the tokens of a passage stand."""
    (at,) = [i for i in range(len(ids)) if tuple(ids[i : i + len(passage)]) == passage]
    return {*range(at, at + len(passage))}


@pytest.mark.parametrize(("model", "count"), [("glassllm", 7), ("glassllm-pt", 7)])
def test_what_is_replayed_is_not_what_is_measured(model: str, count: int) -> None:
    running = race(REPLAYING(model=model))
    ids = running.tokenizer(OF_PACKAGE[model][1], add_special_tokens=False, verbose=False)["input_ids"]
    text = text_of(running)
    measured, replayed = (set().union(*(places(e.ids, ids) for e in each)) for each in (text.encoded, text.to_replay))
    assert len(text.to_replay) == count
    assert not measured & replayed
    assert len(measured) + len(replayed) == len(ids)


def test_the_text_of_a_long_file_and_other_examples_of_a_task_are_replayed(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(" ".join(f"number {i} of the book" for i in range(4000)), encoding="utf-8")
    for keep in (str(tmp_path / "long.txt"), "sentiment"):
        text = text_of(race(REPLAYING(keep=keep)))
        assert len(text.to_replay) == MOST_REPLAYED
        assert not {e.ids for e in text.to_replay} & {e.ids for e in text.encoded}


def test_the_samples_of_the_base_are_drawn_by_the_seed_of_the_race_with_the_model_s_probabilities(drawn: int) -> None:
    lane = Lane("lora", r=2, replay=0.1, replay_from="base")
    first, same, other = (race(REPLAYING((lane,), seed=seed)) for seed in (0, 0, 1))
    of_first, of_same, of_other = (replay_of(each).passages["base"] for each in (first, same, other))
    assert of_first == of_same != of_other
    assert len({e.ids for e in of_first}) == len(of_first) == drawn
    for sample, passage in zip(of_first, text_of(first).to_replay, strict=False):
        assert (sample.ids[0], len(sample.ids)) == (passage.ids[0], len(passage.ids))
    model, _ = load_model("glassllm")
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([[5, 9]])).logits[0, -1].double().log_softmax(-1)
    tokens = [token for (token,) in race(REPLAYING()).data.drawn([(5, 9)] * 2000, 1, range(2000))]
    entropy, variance = -(logs.exp() * logs).sum(), (logs.exp() * logs**2).sum() - (logs.exp() * logs).sum() ** 2
    assert abs(-logs[tokens].mean() - entropy) < 4 * math.sqrt(variance / 2000)


def test_a_lane_held_by_kl_drifts_less() -> None:
    plain, held = steps_of(REPLAYING((Lane("lora", lr=3e-3), Lane("lora", lr=3e-3, keep_kl=5.0)), steps=10))[-1].drift
    assert held < plain / 2


def test_in_a_chain_kl_is_that_from_the_model_at_its_beginning() -> None:
    config = REPLAYING((Lane("olora", r=2, lr=1e-2, keep_kl=0.1),), steps=2)
    for link in ov.chain(config, ["sentiment", "uppercase"]):
        list(link)
        base, passage = replay_of(link.race)._base["text"][0], text_of(link.race).to_replay[0]
        fresh, _ = load_model("glassllm")
        with torch.no_grad():
            logs = fresh(input_ids=torch.tensor([passage.ids])).logits[0, :-1].log_softmax(-1)
        torch.testing.assert_close(base, logs, rtol=1e-4, atol=1e-4)


def test_the_memory_check_counts_what_the_base_predicts_on_what_is_replayed() -> None:
    lanes = (Lane("lora", r=2, keep_kl=0.1), Lane("lora", r=2, keep_kl=0.1, replay_from="base"))
    held, plain = race(REPLAYING(lanes)), race(REPLAYING())
    of_replay = [each for kept in replay_of(held)._base.values() for each in kept]
    more = sum(each.numel() * each.element_size() for each in of_replay)
    assert held.data.predictions_bytes == plain.data.predictions_bytes + more


def test_each_step_reads_a_few_passages_and_every_one_comes_equally_often() -> None:
    replay = replay_of(race(REPLAYING((Lane("lora", r=2, replay=0.1),))))
    read = [i for number in range(1, 8) for i in replay.chosen(number, 0, "text")]
    assert len(read) == 7 * PASSAGES_A_STEP
    assert {read.count(i) for i in range(7)} == {PASSAGES_A_STEP}


def test_a_lane_that_replays_needs_a_text_that_is_long_enough_and_a_race(tmp_path: Path) -> None:
    lanes = (Lane("lora", replay=0.05, keep_kl=0.1),)
    words = "replay=0.05, keep_kl=0.1 needs a text to keep: set keep to a file"
    with pytest.raises(ValueError, match=re.escape(words)):
        RaceConfig(lanes=lanes, keep="none")
    file = tmp_path / "short.txt"
    file.write_text("one two three four five six " * 40, encoding="utf-8")
    with pytest.raises(ValueError, match=r"'short.txt', has \d+ tokens to replay .* at least 64 are needed"):
        race(REPLAYING(lanes, keep=str(file)))
    model, _ = load_model("glassllm")
    with pytest.raises(ValueError, match=r"has replay=0\.05, keep_kl=0\.1, which only a race does"):
        ov.attach(model, list(lanes)).parameter_groups()
