"""Preferences and rewards: gradients and draws by an explicit model, other lanes' bits, what is refused."""

import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.races import resumed, small, steps_of
from torch import Tensor
from torch.func import functional_call

import olora_viz as ov
from olora_viz.figures.race import RaceCurves, loss_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.objectives import Imitation, Prompt, Rewards
from olora_viz.races.race import Race, race
from olora_viz.races.trainer import backward
from olora_viz.tasks import load_task
from olora_viz.tasks.preferences import pair_of, paired
from olora_viz.tasks.task import Example, Task

KINDS = (
    Lane("lora", r=2, lr=3e-3),
    Lane("olora", r=3, lr=1e-3, alpha=5, beta=0.5, kl=0.3),
    Lane("pissa", r=2, lr=1e-3, seed=1, advantage="normalized"),
    Lane("olora_unsubtracted", r=2, lr=1e-4, kl=0.1),
    Lane("full", lr=1e-4, seed=1),
)
OF = partial(small, KINDS, batches="by-seed", steps=3, dtype="float64")
SHORT = {"task": "sentiment", "samples": 3, "metric": "chrf"}  # whose rewards differ from the first step on


def weights_of(running: Race, k: int, theta: Tensor, parts: list[Tensor] | None = None) -> dict[str, Tensor]:
    """Return lane k's merged weights for some theta (K, P); its A and B are added to `parts`, with gradients."""
    lanes, lane, weights = running.lanes, running.config.lanes[k], {}
    for layer in lanes.layers:
        start = lanes.start_factors(layer, k)
        now = lanes._trimmed(theta, layer, k)
        A, B = now.A.detach().clone(), now.B.detach().clone()
        if parts is not None:
            parts += [A.requires_grad_(), B.requires_grad_()]
        change = A - start.A if lane.is_dense else lane.scale * (B @ A - start.B @ start.A)
        weights[f"{layer}.weight"] = lanes.plan.weight(layer).detach() + change
    return weights


def logs(running: Race, given: dict[str, Tensor], ids: tuple[int, ...], at: int) -> Tensor:
    """Return a merged model's log-probabilities (n, V) of the tokens of a sequence from a place on."""
    found = functional_call(running.lanes.base(), given, kwargs={"input_ids": torch.tensor([ids])})
    return found.logits[0, at - 1 : -1].log_softmax(-1)


def said(running: Race, given: dict[str, Tensor], ids: tuple[int, ...], at: int) -> Tensor:
    """Return the log-probability of a sequence's tokens from a place on."""
    return logs(running, given, ids, at).gather(1, torch.tensor(ids[at:])[:, None]).sum()


def by_preferences(running: Race, k: int, now: dict[str, Tensor], before: dict[str, Tensor]) -> Tensor:
    """Return the loss of DPO of lane k in step 3, pair by pair."""
    lane = running.config.lanes[k]
    losses = []
    for example in running.data.examples(3, running.config.order(lane)):
        (c, r) = pair_of(example)
        change = [
            said(running, now, e.ids, e.supervised_from) - said(running, before, e.ids, e.supervised_from)
            for e in (c, r)
        ]
        losses.append(-F.logsigmoid(lane.beta * (change[0] - change[1])))
    return torch.stack(losses).mean()


def rewards_of(running: Race) -> Rewards:
    """Return what the lanes of a race learn from."""
    rewards = running._trainer._objective
    assert isinstance(rewards, Rewards)
    return rewards


def drawn_by(running: Race, k: int, given: dict[str, Tensor]) -> list[list[tuple[int, ...]]]:
    """Draw lane k's answers of step 3, prompt by prompt, without padding and without other lanes."""
    config, data, lane = running.config, running.data, running.config.lanes[k]
    generator = torch.Generator().manual_seed(zlib.crc32(f"{config.seed} {lane.seed} draw 3".encode()))
    asked = rewards_of(running)._asked(3, config.order(lane))
    answers = [[prompt for _ in range(config.samples)] for prompt, _, _ in asked]
    size = len(running.tokenizer)
    for _ in range(data.drawn_size[1]):
        waits = torch.empty(len(asked) * config.samples, size).exponential_(generator=generator).log()
        rows = iter(waits)
        for own in answers:
            for i, ids in enumerate(own):
                last = logs(running, given, (*ids, 0), len(ids))[0]
                own[i] = (*ids, int((last - next(rows)).argmax()))
    return [
        [rewards_of(running)._ended(ids[len(prompt) :], right) for ids in own]
        for (prompt, _, right), own in zip(asked, answers, strict=True)
    ]


def by_rewards(running: Race, k: int, now: dict[str, Tensor], before: dict[str, Tensor]) -> Tensor:
    """Return the loss of REINFORCE of lane k in step 3, answer by answer."""
    lane = running.config.lanes[k]
    gained, moved = [], []
    asked = rewards_of(running)._asked(3, running.config.order(lane))
    for each, own in zip(asked, drawn_by(running, k, now), strict=True):
        rewards = torch.tensor([rewards_of(running)._reward(each, answer) for answer in own], dtype=torch.float64)
        advantages = rewards - rewards.mean()
        if lane.advantage == "normalized":
            advantages = advantages / (rewards.std() + 1e-4)
        for advantage, answer in zip(advantages, own, strict=True):
            ids = (*each.prompt, *answer)
            gained.append(advantage * said(running, now, ids, len(each.prompt)))
            p, q = (logs(running, given, ids, len(each.prompt)) for given in (now, before))
            moved.append((p.exp() * (p - q)).sum(1))
    return lane.kl * torch.cat(moved).mean() - torch.stack(gained).mean()


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("objective", "explicit", "more"), [("dpo", by_preferences, {}), ("reinforce", by_rewards, SHORT)]
)
def test_loss_and_gradient_are_those_of_an_explicit_model(
    objective: str, explicit: Callable[..., Tensor], more: dict, parts: int
) -> None:
    running = race(OF(objective=objective, accumulate=parts, **more))
    trainer, lanes = running._trainer, running.lanes
    start = trainer._objective._start.clone()
    assert torch.equal(start, lanes.theta)
    next(running)
    next(running)
    orders = [running.config.order(lane) for lane in KINDS]
    losses = backward(lanes, running.data, 3, orders, trainer._footprint, objective=trainer._objective)
    for k, lane in enumerate(KINDS):
        theta: list[Tensor] = []
        now = weights_of(running, k, lanes.theta.detach(), theta)
        loss = explicit(running, k, now, weights_of(running, k, start))
        if objective == "dpo":
            assert float(losses[k]) == pytest.approx(float(loss.detach()), rel=1e-7)
        of_lane = torch.autograd.grad(loss, theta, allow_unused=True)
        gradients = iter(of_lane)
        rounding = 1e-6 * max(float(each.abs().max()) for each in of_lane if each is not None)  # norms are in float32
        for layer, A, B in zip(lanes.layers, gradients, gradients, strict=False):
            ours = lanes.gradient(layer, k)
            torch.testing.assert_close(ours.A, A, rtol=1e-5, atol=rounding)
            if not lane.is_dense:
                torch.testing.assert_close(ours.B, B, rtol=1e-5, atol=rounding)


@pytest.mark.parametrize("objective", ["dpo", "reinforce"])
def test_what_answers_begin_with_is_read_once_but_for_dropout(objective: str) -> None:
    config = OF(objective=objective, **SHORT)
    for lanes, shared in ((KINDS, True), ((*KINDS, Lane("lora", dropout=0.1)), False)):
        running = race(config.replace(lanes=lanes))
        orders = [config.order(lane) for lane in lanes]
        parts = running._trainer._objective.parts(1, orders)
        batches = [of_lane[0] for of_lane in parts]
        alone = [replace(batch, first=None) for batch in batches]
        read, apart = (sum(map(len, running.data.positions(each))) for each in (batches, alone))
        assert (read < 0.7 * apart) == shared
        with torch.no_grad():
            running.lanes.theta += 0.01 * torch.randn_like(running.lanes.theta)
            together, each = (running.data.logits(of) for of in (batches, alone))
        torch.testing.assert_close(together, each, rtol=1e-9, atol=1e-9)


def test_at_the_first_step_no_answer_is_preferred_whatever_the_start() -> None:
    lanes = tuple(Lane(init, r=2) for init in ("lora", "olora", "pissa", "mica", "olora_unsubtracted", "full"))
    first = steps_of(small(lanes, objective="dpo"))[0]
    np.testing.assert_allclose(first.loss, math.log(2), rtol=1e-6)
    assert first.measures["margin"].tolist() == [0.0] * len(lanes)


def test_in_a_chain_the_reference_is_what_a_lane_was_before_its_link() -> None:
    config = small((Lane("lora", r=2, lr=1e-2), Lane("full")), objective="dpo", steps=2)
    for link in ov.chain(config, ["number-words", "uppercase"]):
        first = next(iter(link))
        np.testing.assert_allclose(first.measures["margin"], 0.0, atol=1e-5)
        list(link)


def test_a_chain_imitates_first_and_is_judged_by_right_answers_throughout() -> None:
    config = small(steps=2, metric="chrf")
    chain = ov.chain(config, ["sentiment", "sentiment", "sentiment"], objectives=("imitation", "dpo", "reinforce"))
    found = [set(step.measures) & {"margin", "reward"} for link in chain for step in [list(link)[-1]]]
    assert found == [set(), {"margin"}, {"reward"}]
    after = race(config.replace(task="sentiment"))
    list(after)
    assert chain.links[0]["lanes"]["lora"]["results"]["sentiment"]["loss"] == pytest.approx(
        float(after.state.last_eval.loss[0]), rel=1e-6
    )
    again = type(chain).from_json(chain.to_json())
    assert again.objectives == chain.objectives
    with pytest.raises(ValueError, match="a chain of 2 tasks has as many objectives or one, not 3"):
        ov.chain(config, ["sentiment", "uppercase"], objectives=("dpo",) * 3)


@pytest.mark.parametrize("objective", ["dpo", "reinforce"])
def test_a_lane_beside_others_learns_what_it_learns_alone(objective: str) -> None:
    config = OF(objective=objective, **SHORT)
    beside = steps_of(config)
    for k, lane in enumerate(KINDS):
        alone = steps_of(config.replace(lanes=(lane,)))
        for one, other in zip(alone, beside, strict=True):
            for key in ("loss", "grad_norm", *({"margin", "reward", "entropy", "kl_to_start"} & set(one.measures))):
                np.testing.assert_allclose(one.measures[key][0], other.measures[key][k], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("objective", ["dpo", "reinforce"])
def test_a_race_that_goes_on_is_bitwise_the_same_with_its_draws(objective: str) -> None:
    config = OF(objective=objective, eval_every=1, **SHORT)
    whole, rest = race(config), resumed(config, 1)
    steps = list(whole)
    assert list(rest) == steps[1:]
    assert torch.equal(rest.lanes.theta, whole.lanes.theta)


def test_rewards_rise_and_pairs_are_ranked() -> None:
    lanes = (Lane("lora", lr=3e-3), Lane("olora", lr=1e-3))
    steps = steps_of(RaceConfig(lanes=lanes, steps=30, batch_size=8, objective="dpo", keep="none", device="cpu"))
    assert (steps[-1].eval_accuracy > 0.8).all(), "at first a third of the pairs are"
    chain = ov.chain(
        RaceConfig(lanes=(Lane("lora", lr=1e-3),), steps=20, batch_size=8, eval_every=0, keep="none"),
        ["sentiment", "sentiment"],
        objectives=("imitation", "reinforce"),
    )
    _, rewarded = [list(link) for link in chain]
    first, last = [np.mean([s.measures["reward"] for s in part]) for part in (rewarded[:4], rewarded[-4:])]
    assert last > first + 0.1


def test_a_wrong_answer_is_a_choice_or_another_s_answer_and_never_right() -> None:
    task = load_task("number-words")
    for example in paired(task, 0).train:
        assert len(example.choices) == 2
        assert example.choices[0] == example.answer != example.choices[1]
        assert example.choices[1] in {other.answer for other in task.examples}
    rows = [Example(f"{n}?", " a", choices=(" a", " b", " c"), others=("b",)) for n in range(30)]
    chosen = paired(Task("rows", "", tuple(rows[:20]), tuple(rows[20:])), 0)
    assert {example.choices for example in chosen.examples} == {(" a", " c")}


def failing(answer: str, right: str) -> float:
    raise KeyError(answer)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": "ppo"}, "unknown objective 'ppo'"),
        ({"samples": 1}, "samples must be a whole number of at least 2|samples"),
        ({"objective": "dpo", "task": "text"}, "the objective dpo needs prompts with answers, and 'text' is plain"),
        ({"objective": "reinforce", "task": "text"}, "the objective reinforce needs prompts with answers"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(settings: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        race(small(**settings))


@pytest.mark.parametrize(("key", "value"), [("beta", 0.0), ("kl", -1.0), ("kl", math.nan), ("advantage", "best")])
def test_a_key_of_a_lane_is_checked(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        Lane("lora", **{key: value})


def test_a_reward_that_raises_is_a_sentence_and_the_race_is_as_it_was() -> None:
    running = race(small(objective="reinforce", metric=failing, samples=2))
    theta = running.lanes.theta.detach().clone()
    with pytest.raises(ValueError, match=r"the metric 'failing', on the answer .* raised KeyError"):
        next(running)
    assert running.done == 0
    assert torch.equal(running.lanes.theta, theta)


def test_the_reward_is_the_race_s_metric_else_the_task_s_else_exact() -> None:
    def reward(answer: str, **settings: str) -> float:
        rewards = rewards_of(race(small(objective="reinforce", **settings)))
        tokens = rewards._data.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return rewards._reward(Prompt((), Example("Two names:", " Ana: person; Rome: place"), 1), tokens)

    half = " Ana: person; Rome: person"
    assert reward(half, task="tagging") == 0.5, "the task's, F1"
    assert reward(half, task="tagging", metric="exact") == reward(half, task="addition") == 0.0
    assert reward(" Ana: person; Rome: place", task="addition") == 1.0


@pytest.mark.parametrize(("objective", "words"), [("dpo", "log σ"), ("reinforce", "1 − the mean reward")])
def test_the_chart_of_the_loss_says_what_the_lines_are(objective: str, words: str) -> None:
    lanes = (Lane("lora", r=2), Lane("olora", r=2))
    steps = steps_of(small(lanes, objective=objective, task="sentiment", samples=2))
    assert words in loss_figure(RaceCurves(lane_styles(lanes), steps, 4))["layout"]["meta"]["unit"]
    assert (
        words not in loss_figure(RaceCurves(lane_styles(lanes), steps_of(small(lanes)), 4))["layout"]["meta"]["unit"]
    )


def test_a_lane_without_a_gradient_for_a_while_goes_on_learning_from_rewards() -> None:
    state = race(small(objective="reinforce", samples=2)).state
    gone = race(small()).state
    for each, untrained in ((state, Rewards.of_untrained), (gone, Imitation.of_untrained)):
        for number, norm in enumerate((1.0, 0.0, 0.0), 1):
            each.trained(number, np.full(2, 0.5), np.full(2, norm), untrained(each, 0.4))  # type: ignore[arg-type]
    assert state.out.tolist() == [False, False], "all answers had one reward, 0.5"
    assert gone.out.tolist() == [True, True]
