"""What lanes with `Lane.replay` or `Lane.keep_kl` read of the text to keep in a step, and the gradient of that."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import as_base, by_group, pass_groups
from olora_viz.lanes.lane import REPLAYED_FROM, Lane
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.memory import Footprint
from olora_viz.machine.process import Progress
from olora_viz.measures.gradients import GradientRecorder
from olora_viz.tasks.batches import Batch, Size, batch_indices, packed_size
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.keep import MOST_REPLAYED, TOKENS_A_PASSAGE, TextToKeep

if TYPE_CHECKING:
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.data import RaceData

PASSAGES_A_STEP = 2
"""The passages that a lane replays in a step: one of the default race takes 1.5 to 2 times as long if all lanes do."""

TEXT, BASE = REPLAYED_FROM


def check_replay(text: TextToKeep) -> None:
    """Check that there is enough to replay beside what is measured.

    Raises:
        ValueError: there is not.
    """
    tokens = _predicted(text.to_replay)
    if tokens < TOKENS_A_PASSAGE:
        raise ValueError(
            f"the text to keep, {text.name!r}, has {tokens} tokens to replay beside those that are measured: at least "
            f"{TOKENS_A_PASSAGE} are needed"
        )


def predicted_by_base(lanes: Sequence[Lane], text: TextToKeep) -> int:
    """Return for how many tokens of what is replayed a race keeps the base model's predictions."""
    sources = {lane.replay_from for lane in lanes if lane.keep_kl}
    passages = {TEXT: text.to_replay, BASE: _continued_by_base(text)}
    return sum(_predicted(passages[source]) for source in sources)


class Replay:
    """The passages that the lanes of a race replay, and the part of their loss that these are.

    A lane with the share p of ``replay`` and the weight c of ``keep_kl`` trains on

        (1 − p) × the task's loss + p × the loss on the passages + c × KL(base‖lane) on the passages,

    each a mean over tokens. The passages of a step follow from its number and the lane's order of examples, so lanes
    of one order read the same. They are those of the text to keep between the measured ones, or `MOST_REPLAYED`
    samples that the base model, without what earlier links of a chain have merged, draws in their place: as long,
    after the same first token, or of a task after the same prompt. They are drawn once, by the seed of the race.
    """

    def __init__(self, config: RaceConfig, data: RaceData, lanes: Lanes, progress: Progress | None = None) -> None:
        assert data.text is not None
        self._config, self._data, self._text = config, data, data.text
        replaying = [lane for lane in config.lanes if lane.replays]
        self.passages: dict[str, tuple[Encoded, ...]] = {TEXT: data.text.to_replay}
        self._base: dict[str, list[Tensor]] = {}
        if any(lane.replay_from == BASE for lane in replaying):
            key = ("drawn", data.text, config.seed, data.text_rows)
            self.passages[BASE] = data.cache.get(key, lambda: as_base(lanes, self._drawn, progress))
        for source in sorted({lane.replay_from for lane in replaying if lane.keep_kl}):
            key = ("replayed", self.passages[source])
            self._base[source] = data.cache.get(
                key, lambda source=source: as_base(lanes, lambda _: self._predicted(source), progress)
            )

    @classmethod
    def of(cls, config: RaceConfig, data: RaceData, lanes: Lanes, progress: Progress | None = None) -> Replay | None:
        """Return that of a race; None if no lane replays."""
        return cls(config, data, lanes, progress) if any(lane.replays for lane in config.lanes) else None

    def chosen(self, number: int, order: int, source: str) -> list[int]:
        """Return which passages are replayed in a step, 1 for the first."""
        return batch_indices(len(self.passages[source]), PASSAGES_A_STEP, order, number - 1)

    def backward(
        self, lanes: Lanes, number: int, orders: Sequence[int], footprint: Footprint, recorder: GradientRecorder | None
    ) -> None:
        """Add the gradient of what the lanes replay to ``lanes.theta.grad``, which has that of the task's part.

        Lanes that replay nothing are in none of these passes.
        """
        assert lanes.theta.grad is not None
        whole = lanes.theta.grad
        batches = [
            self._batch(number, order, lane.replay_from) if lane.replays else None
            for lane, order in zip(lanes.lanes, orders, strict=True)
        ]

        def run(rows: slice, theta: Tensor, _: Progress) -> Tensor:
            own = [batch for batch in batches[rows] if batch is not None]
            shapes = [(batch.size.rows, batch.size.width) for batch in own]
            dropout = Dropout(lanes.lanes[rows], (number, -1), shapes, None, self._data.positions(own))
            with lanes.some(rows, dropout), recorder.inputs(rows) if recorder else nullcontext():
                logits = self._data.logits(own).split([len(batch.targets) for batch in own])
                terms = zip(lanes.lanes[rows], orders[rows], own, logits, strict=True)
                torch.stack([self._loss(number, *each) for each in terms]).sum().backward()
            gradient, theta.grad = theta.grad, None
            assert gradient is not None
            return gradient

        each = self.bytes(footprint)
        groups = [*self._groups(lanes, each)]
        lanes.theta.grad = None
        for rows, gradient in zip(groups, by_group(lanes, each, run, groups=groups), strict=True):
            whole[rows] += gradient
        lanes.theta.grad = whole

    def bytes(self, footprint: Footprint) -> float:
        """Return the memory of one lane's pass; KL takes as much again of each predicted token."""
        sizes = [packed_size(passages, PASSAGES_A_STEP) for passages in self.passages.values()]
        size = Size.covering(sizes)
        return footprint.training.bytes(size._replace(supervised=size.supervised * (2 if self._base else 1)))

    def _groups(self, lanes: Lanes, each: float) -> Iterator[slice]:
        """Yield the lanes that replay, neighbours together, in groups that fit into memory."""
        for replays, members in groupby(range(lanes.count), lambda k: lanes.lanes[k].replays):
            if replays:
                first, *rest = members
                for group in pass_groups(lanes.plan, each, count=1 + len(rest)):
                    yield slice(first + group.start, first + group.stop)

    def _batch(self, number: int, order: int, source: str) -> Batch:
        return self._data.batch_of([self.passages[source][i] for i in self.chosen(number, order, source)])

    def _loss(self, number: int, lane: Lane, order: int, batch: Batch, logits: Tensor) -> Tensor:
        known, terms = logits.log_softmax(-1), []
        if lane.replay:
            terms.append(-lane.replay * known.gather(1, batch.targets[:, None]).mean())
        if lane.keep_kl:
            base = self._base[lane.replay_from]
            expected = torch.cat([base[i] for i in self.chosen(number, order, lane.replay_from)])
            moved = F.kl_div(known, expected, reduction="none", log_target=True).sum(1).mean()
            terms.append(lane.keep_kl * moved)
        return torch.stack(terms).sum()

    def _predicted(self, source: str) -> list[Tensor]:
        """Return what the base model predicts on each passage, as log-probabilities."""
        return [self._data.predictions(passage) for passage in self.passages[source]]

    def _drawn(self, report: Progress) -> tuple[Encoded, ...]:
        """Let the base model draw samples in place of the passages."""
        wanted, samples = _continued_by_base(self._text), {}
        by_count = sorted(range(len(wanted)), key=lambda i: _predicted([wanted[i]]))
        for count, of_count in groupby(by_count, lambda i: _predicted([wanted[i]])):
            members = list(of_count)
            for at in range(0, len(members), self._data.text_rows):
                report(len(samples) / len(wanted), "drawing samples of the base model to replay")
                part = members[at : at + self._data.text_rows]
                prompts = [wanted[i].ids[: wanted[i].supervised_from] for i in part]
                seeds = [zlib.crc32(f"{self._config.seed} replay {i}".encode()) for i in part]
                for i, prompt, tokens in zip(part, prompts, self._data.drawn(prompts, count, seeds), strict=True):
                    samples[i] = Encoded((*prompt, *tokens), len(prompt))
        return tuple(samples[i] for i in range(len(wanted)))


def _predicted(passages: Sequence[Encoded]) -> int:
    """Count the tokens that passages predict."""
    return sum(len(each.ids) - each.supervised_from for each in passages)


def _continued_by_base(text: TextToKeep) -> list[Encoded]:
    """Return the passages in whose place the base model draws samples, some of them several times."""
    return [text.to_replay[i % len(text.to_replay)] for i in range(MOST_REPLAYED)] if text.to_replay else []
