"""What the lanes of a race learn from: right answers, preferences between answers, or rewards of their own answers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.generation import answer_cost, ends_of
from olora_viz.lanes.groups import by_group, groups_of
from olora_viz.lanes.lane import ADVANTAGES
from olora_viz.machine.process import Progress
from olora_viz.models.folder import quiet
from olora_viz.races.data import reward_of
from olora_viz.races.fields import DPO, IMITATION, REINFORCE
from olora_viz.tasks.batches import Batch, Size, borders
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.preferences import pair_of
from olora_viz.tasks.task import Example

if TYPE_CHECKING:
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.data import RaceData

NORMALIZED = ADVANTAGES[1]

SPREAD = 1e-4
"""What is added to a standard deviation by which advantages are divided, as in TRL."""

Parts = Sequence[Sequence[Batch]]
"""For each lane, the parts of its batch; lanes that read the same have the very same ones."""


class Prompt(NamedTuple):
    """A prompt to which lanes draw answers."""

    prompt: tuple[int, ...]
    """Its tokens."""
    example: Example
    right: int
    """The number of tokens of the right answer."""


class Imitation:
    """Learning from right answers: the loss is the mean cross-entropy of their tokens.

    Attributes:
        measured: what a step has measured beside its loss, by the keys of measures: (K,) each.
    """

    def __init__(self, config: RaceConfig, data: RaceData, lanes: Lanes) -> None:
        self._config, self._data, self._lanes = config, data, lanes
        self.measured: dict[str, Tensor] = {}

    def parts(self, number: int, orders: Sequence[int]) -> Parts:
        """Return what each lane reads in a step, 1 for the first.

        Args:
            orders: the seed of each lane's order of examples.
        """
        parts = {order: self._data.parts(number, order) for order in dict.fromkeys(orders)}
        return [parts[order] for order in orders]

    def shares(self, parts: Parts, i: int) -> list[float]:
        """Return the weight of part i in the loss of each lane: the share of the supervised tokens."""
        return [of_lane[i].size.supervised / sum(part.size.supervised for part in of_lane) for of_lane in parts]

    def losses(self, rows: slice, i: int, batches: Sequence[Batch]) -> Tensor:
        """Return the losses of the active lanes on part i of their batches, (k,), with their graph."""
        return self._data.losses(batches)

    def of_untrained(self, base_loss: float) -> float:
        """Return the loss above which a lane without any gradient cannot learn, see `RaceState.trained`.

        Args:
            base_loss: held-out loss of the base model, over all supervised tokens.
        """
        return base_loss

    def reported(self, losses: Tensor) -> Tensor:
        """Return what a step reports as the losses of the lanes, (K,), given those that they train on."""
        return losses

    def measurements(self) -> dict[str, np.ndarray]:
        """Return what a step has measured."""
        return {name: values.cpu().double().numpy() for name, values in self.measured.items()}


class FromStart(Imitation):
    """An objective that compares a lane with what it was before its first step."""

    def __init__(self, config: RaceConfig, data: RaceData, lanes: Lanes) -> None:
        super().__init__(config, data, lanes)
        self._start = lanes.theta.detach().clone()

    def _known(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Return the log-probabilities of all tokens, (n, V), at those that each lane's batch supervises."""
        return list(self._data.logits(batches).log_softmax(-1).split([len(batch.targets) for batch in batches]))

    @torch.no_grad()
    def _known_at_start(self, rows: slice, batches: Sequence[Batch]) -> list[Tensor]:
        """Return the same of the lanes as they were before the first step."""
        with self._lanes.apart(rows, self._start[rows]):
            return self._known(batches)

    def _add(self, rows: slice, **values: Sequence[Tensor]) -> None:
        """Add up what is measured on a part of some lanes' batches."""
        for name, of_lanes in values.items():
            total = self.measured.setdefault(name, self._lanes.theta.new_zeros(self._lanes.count))
            total[rows] += torch.stack([_like(total, value.detach()) for value in of_lanes])


class Preferences(FromStart):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290).

    A pair is a prompt with a chosen and a rejected answer. With Δ the log-probability of the chosen answer minus that
    of the rejected one, each a sum over its tokens, the loss is −log σ(β (Δ − Δ⁰)), a mean over pairs, in which Δ⁰ is
    that of the lane before its first step.
    """

    def parts(self, number: int, orders: Sequence[int]) -> Parts:
        """Return the pairs that each lane reads, each answer after the other."""
        self.measured = {}
        pairs = {
            order: [pair_of(example) for example in self._data.examples(number, order)]
            for order in dict.fromkeys(orders)
        }
        count = self._config.accumulate
        batches = {
            order: [
                self._data.batch_of([answer for pair in of_order[a:b] for answer in pair], share=True)
                for a, b in borders(len(of_order), count)
            ]
            for order, of_order in pairs.items()
        }
        return [batches[order] for order in orders]

    def shares(self, parts: Parts, i: int) -> list[float]:
        """Return the share of the pairs in a part."""
        sizes = [b - a for a, b in borders(self._config.batch_size, self._config.accumulate)]
        return [sizes[i] / sum(sizes)] * len(parts)

    def of_untrained(self, base_loss: float) -> float:
        """Return the loss of lanes that prefer no answer."""
        return math.log(2)

    def losses(self, rows: slice, i: int, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of some lanes, and note the margins Δ − Δ⁰ and the share of those above zero."""
        before = [_differences(*each) for each in zip(self._known_at_start(rows, batches), batches, strict=True)]
        now = [_differences(*each) for each in zip(self._known(batches), batches, strict=True)]
        margins = [after - at_start for after, at_start in zip(now, before, strict=True)]
        every = self._config.batch_size
        self._add(
            rows,
            margin=[margin.sum() / every for margin in margins],
            preferred=[(margin > 0).sum() / every for margin in margins],
        )
        lanes = self._lanes.lanes[rows]
        return torch.stack([-F.logsigmoid(lane.beta * m).mean() for lane, m in zip(lanes, margins, strict=True)])


class Rewards(FromStart):
    """Policy gradients of the rewards of a lane's own answers, without a critic (REINFORCE).

    A lane draws `RaceConfig.samples` answers to each prompt. The loss is the mean over answers of −a × the sum of the
    log-probabilities of their tokens, plus `Lane.kl` × KL(lane‖lane before its first step), a mean over the drawn
    tokens. The advantage a is the reward minus the mean reward of the same prompt's answers, divided by their standard
    deviation if `Lane.advantage` is ``normalized`` (as in GRPO, Shao et al. 2024, arXiv 2402.03300). The reward is the
    metric of the race or its task, or else ``exact``.
    """

    def __init__(self, config: RaceConfig, data: RaceData, lanes: Lanes) -> None:
        super().__init__(config, data, lanes)
        self._advantages: list[list[Tensor]] = []
        self._tokens: list[int] = []

    def parts(self, number: int, orders: Sequence[int]) -> Parts:
        """Let each lane draw its answers, and return them with their prompts."""
        self.measured, self._advantages, self._tokens = {}, [], []
        asked = {order: self._asked(number, order) for order in dict.fromkeys(orders)}
        spans, parts = borders(self._config.batch_size, self._config.accumulate), []
        for k, (order, drawn) in enumerate(zip(orders, self._drawn(number, orders, asked), strict=True)):
            answered = list(zip(asked[order], drawn, strict=True))
            rewards = torch.tensor(
                [[self._reward(each, answer) for answer in answers] for each, answers in answered], dtype=torch.float64
            )
            differ = rewards.amax(1) > rewards.amin(1)
            self._add(slice(k, k + 1), reward=[rewards.mean()], differing=[differ.double().mean()])
            advantages = rewards - rewards.mean(1, keepdim=True)
            if self._lanes.lanes[k].advantage == NORMALIZED:
                advantages = advantages / (rewards.std(1, keepdim=True) + SPREAD)
            read = [[Encoded((*prompt, *own), len(prompt)) for own in answers] for (prompt, _, _), answers in answered]
            parts.append(
                [self._data.batch_of([each for own in read[a:b] for each in own], share=True) for a, b in spans]
            )
            self._advantages.append([_like(self._lanes.theta, advantages[a:b].flatten()) for a, b in spans])
            self._tokens.append(sum(len(own) for answers in drawn for own in answers))
        return parts

    def shares(self, parts: Parts, i: int) -> list[float]:
        """Return 1: the loss of a part is a share of that of a step."""
        return [1.0] * len(parts)

    def of_untrained(self, base_loss: float) -> float:
        """Return no loss: while no answers differ in reward there is no gradient, and later there may be."""
        return math.inf

    def losses(self, rows: slice, i: int, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of some lanes, and note the entropy and the KL of their predictions."""
        numbers, answers = range(self._lanes.count)[rows], self._config.batch_size * self._config.samples
        losses, entropies, moved = [], [], []
        before = self._known_at_start(rows, batches)
        for k, batch, now, at_start in zip(numbers, batches, self._known(batches), before, strict=True):
            gained = (self._advantages[k][i] * _by_answer(now, batch)).sum() / answers
            kl = F.kl_div(at_start, now, reduction="none", log_target=True).sum() / self._tokens[k]
            losses.append(self._lanes.lanes[k].kl * kl - gained)
            entropies.append(-(now.exp() * now).sum() / self._tokens[k])
            moved.append(kl)
        self._add(rows, entropy=entropies, kl_to_start=moved)
        return torch.stack(losses)

    def reported(self, losses: Tensor) -> Tensor:
        """Return by how much the mean reward of each lane is below 1."""
        return 1.0 - self.measured["reward"]

    def _asked(self, number: int, order: int) -> list[Prompt]:
        """Return a step's prompts in the order of a seed."""
        data = self._data
        chosen = [(data.train[i], data.train_examples[i]) for i in data.chosen(number, order)]
        return [Prompt(e.ids[: e.supervised_from], example, len(e.ids) - e.supervised_from) for e, example in chosen]

    def _reward(self, asked: Prompt, answer: Sequence[int]) -> float:
        """Return the reward of an answer, from 0 to 1.

        Raises:
            ValueError: the metric raised, or returned no such number.
        """
        text = str(self._data.tokenizer.decode(list(answer), skip_special_tokens=True))
        return asked.example.score(text, reward_of(self._config, self._data.task))

    def _ended(self, drawn: Sequence[int], right: int) -> tuple[int, ...]:
        """Return an answer up to its end token, or as many tokens as the right one has where answers do not end."""
        if not self._data.stops:
            return tuple(drawn[:right])
        ends = ends_of(self._data.tokenizer, self._data.chat)
        return tuple(drawn[: next((i for i, token in enumerate(drawn, 1) if token in ends), len(drawn))])

    def _drawn(
        self, number: int, orders: Sequence[int], asked: Mapping[int, Sequence[Prompt]]
    ) -> list[list[list[tuple[int, ...]]]]:
        """Draw answers: for each lane and prompt, the tokens of each, up to its end.

        Every prompt is padded to one length, and a lane's random numbers follow from its seed, the race's and the
        step, so that a lane draws beside others what it draws alone.
        """
        config, data, lanes = self._config, self._data, self._lanes
        width, count = data.drawn_size
        each = answer_cost(lanes.plan, lanes).bytes(
            Size(config.batch_size * config.samples, width + count, config.batch_size * config.samples)
        )

        def run(rows: slice, _: Tensor, tell: Progress) -> list[list[list[int]]]:
            prompts = [each.prompt for order in orders[rows] for each in asked[order]]
            seeds = [zlib.crc32(f"{config.seed} {lane.seed} draw {number}".encode()) for lane in lanes.lanes[rows]]
            drawn = data.drawn(prompts, count, seeds, width, config.samples)
            size = len(drawn) // len(seeds)
            return [drawn[at : at + size] for at in range(0, len(drawn), size)]

        with quiet():  # here as well, since the threads of groups would restore each other's settings
            groups = by_group(lanes, each, run, least=groups_of(lanes.plan, each))
        of_lanes = [lane for group in groups for lane in group]
        return [
            [
                [self._ended(tokens, each.right) for tokens in drawn[i * config.samples : (i + 1) * config.samples]]
                for i, each in enumerate(asked[order])
            ]
            for order, drawn in zip(orders, of_lanes, strict=True)
        ]


OBJECTIVES: Mapping[str, type[Imitation]] = {IMITATION: Imitation, DPO: Preferences, REINFORCE: Rewards}
"""The objectives by name."""


def _like(other: Tensor, values: Tensor) -> Tensor:
    """Return values in the dtype of another tensor and on its device, which may have no float64."""
    return values.to(other.dtype).to(other.device)


def _by_answer(known: Tensor, batch: Batch) -> Tensor:
    """Return the log-probability of each answer, the sum over its tokens."""
    of_tokens = known.gather(1, batch.targets[:, None])[:, 0]
    return of_tokens.new_zeros(int(batch.sequence[-1]) + 1).index_add(0, batch.sequence, of_tokens)


def _differences(known: Tensor, batch: Batch) -> Tensor:
    """Return by how much each chosen answer is likelier than the rejected one, which is after it."""
    chosen, rejected = _by_answer(known, batch).unflatten(0, (-1, 2)).unbind(1)
    return chosen - rejected
