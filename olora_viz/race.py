"""A race: K lanes trained in lock-step on the same batches, one frozen `Step` after another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from olora_viz import losses
from olora_viz.adapters import attach
from olora_viz.answers import Answer, ask
from olora_viz.lane_groups import Footprint, adapter_bytes, lane_groups
from olora_viz.layers import target_layers, weight_of
from olora_viz.losses import Evaluation
from olora_viz.models import check_memory, load_model, resolve_device, resolve_dtype
from olora_viz.race_config import RaceConfig
from olora_viz.step import Step
from olora_viz.tasks import Encoding, Example, batch_indices, collate, encode, load_task
from olora_viz.trace import trace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[float, str], None]
"""Told the fraction done, 0 to 1, and what happens now; may raise, to stop."""


def race(
    config: RaceConfig,
    *,
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    progress: Progress | None = None,
) -> Race:
    """Set up a race; iterating over it trains.

    To pause is to stop iterating, to stop is `Race.close`. The same config gives bitwise the
    same steps on the same device.

    Parameters
    ----------
    config : the set-up.
    model, tokenizer : used instead of loading ``config.model``, where they are at hand already.
    progress : told how far the loading is.

    Raises
    ------
    ValueError : a name that nobody knows, a rank above min(out, in), an example that does not
        fit the model's context, and so on; one sentence with the value and the rule.
    """
    return Race(config, model, tokenizer, progress)


class Race(Iterator[Step]):
    """A running race, made by `race`: an iterator of `Step`.

    Attributes
    ----------
    config, task, model, tokenizer, lanes : what takes part.
    baseline : held-out loss and accuracy of the base model, that is of every lane at step 0.
    done : how many steps have been made.
    left_out : how many training examples were longer than ``config.max_length``.
    """

    def __init__(
        self,
        config: RaceConfig,
        model: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        device = resolve_device(config.device)
        self.task = load_task(config.task, config.seed)
        if model is None or tokenizer is None:
            dtype = resolve_dtype(config.dtype, device)
            model, tokenizer = load_model(
                config.model, device=device, dtype=dtype, progress=progress
            )
        self.model, self.tokenizer = model, tokenizer
        self.device = next(model.parameters()).device
        self._pad_id: Any = tokenizer.pad_token_id or 0
        train = self._encode(self.task.train, choices=False)
        self._train, self.left_out = train.kept, train.left_out
        self._held_out = self._encode(self.task.held_out[: config.eval_size]).kept
        self._footprint = Footprint.of(model)
        self._check_memory()
        self.lanes = attach(model, config.lanes, config.targets, progress)
        try:
            with self.lanes.off():
                self.baseline = self._evaluate()
        except BaseException:
            self.lanes.detach()
            raise
        K = self.lanes.count
        # Each row of theta is a parameter of its own, so that it has its own learning rate.
        self._rows = [nn.Parameter(row) for row in self.lanes.theta.detach()]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [row], "lr": lane.lr, "weight_decay": lane.weight_decay}
                for row, lane in zip(self._rows, config.lanes, strict=True)
            ],
            fused=True,
        )
        self._clip = torch.tensor(
            [lane.clip or math.inf for lane in config.lanes], device=self.device
        )
        self.done, self.seconds, self.tokens = 0, 0.0, 0
        self.diverged_at = np.zeros(K, dtype=np.int64)
        self.last_loss = np.full(K, np.nan)
        self.first_grad_norm = np.full(K, np.nan)
        self.last_eval = Evaluation(
            np.repeat(self.baseline.loss, K), np.repeat(self.baseline.accuracy, K)
        )
        self.last_eval_step = 0
        self._closed = False

    def __iter__(self) -> Race:
        """A race is its own iterator: a second loop goes on where the first one stopped."""
        return self

    def __next__(self) -> Step:
        """Make one step for all lanes."""
        if self._closed or self.done >= self.config.steps or self.diverged_at.all():
            raise StopIteration
        began = time.perf_counter()
        number = self.done + 1
        rates = self._rates(number)
        loss, norm = self._update(number, rates)
        evaluation = self._evaluate_lanes() if self._is_evaluated(number) else None
        seen = trace(self.lanes) if _is_due(number, self.config.trace_every) else None
        out = self.diverged_at > 0
        if evaluation:
            evaluation.loss[out] = evaluation.accuracy[out] = np.nan
            self.last_eval, self.last_eval_step = evaluation, number
        self.done = number
        self.seconds += time.perf_counter() - began
        return Step(
            step=number,
            loss=np.where(out, np.nan, loss),
            grad_norm=np.where(out, np.nan, norm),
            lr=rates,
            seconds=self.seconds,
            tokens=self.tokens,
            status=tuple("diverged" if gone else "racing" for gone in out),
            eval_loss=evaluation.loss.copy() if evaluation else None,
            eval_accuracy=evaluation.accuracy.copy() if evaluation else None,
            trace=seen,
        )

    def close(self) -> None:
        """Stop: no further steps. The lanes stay, for answers and export."""
        self._closed = True

    @property
    def status(self) -> str:
        """``racing``, ``stopped``, ``finished`` or (every lane is out) ``diverged``."""
        if self.diverged_at.all():
            return "diverged"
        if self.done >= self.config.steps:
            return "finished"
        return "stopped" if self._closed else "racing"

    def answers(self, count: int) -> list[Answer]:
        """Ask the base model and every lane the first `count` held-out prompts, greedily."""
        encoded = self._held_out[:count]
        return ask(self.lanes, self.tokenizer, encoded, plain_text=self.task.plain_text)

    def summary(self) -> dict[str, Any]:
        """Return where the race stands, as plain values; ``final_loss`` is the held-out one."""

        def number(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        status = self.status
        lanes = {
            label: {
                "status": "diverged" if self.diverged_at[k] else status,
                "final_loss": number(self.last_eval.loss[k]),
                "final_accuracy": number(self.last_eval.accuracy[k]),
                "final_loss_step": self.last_eval_step,
                "train_loss": number(self.last_loss[k]),
                "first_grad_norm": number(self.first_grad_norm[k]),
                "diverged_at": int(self.diverged_at[k]) or None,
            }
            for k, label in enumerate(self.lanes.labels)
        }
        return {
            "status": status,
            "model": self.config.model,
            "task": self.config.task,
            "device": str(self.device),
            "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
            "steps": self.done,
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
            "left_out": self.left_out,
            "base": {
                "loss": number(self.baseline.loss[0]),
                "accuracy": number(self.baseline.accuracy[0]),
            },
            "lanes": lanes,
        }

    def state(self) -> dict[str, Tensor]:
        """Return all that going on bitwise needs, beside the config: tensors on the CPU."""
        moments: dict[str, list[Tensor]] = {"exp_avg": [], "exp_avg_sq": [], "step": []}
        for row in self._rows:
            known = self._optimizer.state.get(row, {})
            for name, rows in moments.items():
                empty = torch.zeros(()) if name == "step" else torch.zeros_like(row)
                rows.append(known.get(name, empty).detach().cpu())
        return {
            "theta": self.lanes.theta.detach().cpu().clone(),
            **{name: torch.stack(rows) for name, rows in moments.items()},
            "diverged_at": torch.tensor(self.diverged_at),
            "last_loss": torch.tensor(self.last_loss),
            "first_grad_norm": torch.tensor(self.first_grad_norm),
            "last_eval": torch.tensor(np.stack([self.last_eval.loss, self.last_eval.accuracy])),
            "clock": torch.tensor(
                [self.done, self.seconds, self.tokens, self.last_eval_step], dtype=torch.float64
            ),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back (or on) to a `state` of a race with the same config."""
        with torch.no_grad():
            self.lanes.theta.copy_(state["theta"])
        for k, row in enumerate(self._rows):
            self._optimizer.state[row] = {
                "step": state["step"][k].clone().to(row.device),
                "exp_avg": state["exp_avg"][k].clone().to(row.device),
                "exp_avg_sq": state["exp_avg_sq"][k].clone().to(row.device),
            }
        self.diverged_at = state["diverged_at"].numpy().copy()
        self.last_loss = state["last_loss"].numpy().copy()
        self.first_grad_norm = state["first_grad_norm"].numpy().copy()
        self.last_eval = Evaluation(*state["last_eval"].numpy().copy())
        done, self.seconds, tokens, last_eval_step = state["clock"].tolist()
        self.done, self.tokens, self.last_eval_step = int(done), int(tokens), int(last_eval_step)

    def _encode(self, examples: Sequence[Example], *, choices: bool = True) -> Encoding:
        return encode(
            examples,
            self.tokenizer,
            max_length=self.config.max_length,
            context=self.model.config.max_position_embeddings,
            ends=self.task.ends,
            plain_text=self.task.plain_text,
            choices=choices,
        )

    def _check_memory(self) -> None:
        """Refuse lanes that the machine cannot hold: it would end the process, and all others'."""
        layers = target_layers(self.model, self.config.targets).values()
        shapes = [tuple(weight_of(layer).shape) for layer in layers]
        K, rank = len(self.config.lanes), max(lane.r for lane in self.config.lanes)
        itemsize = 8 if self.config.dtype == "float64" else 4
        check_memory(
            adapter_bytes(K, shapes, rank, itemsize),
            self.device,
            f"{K} lane{'s' * (K > 1)} of rank up to {rank} on {self.config.model!r}",
        )

    def _evaluate_lanes(self) -> Evaluation:
        """Judge all lanes, as many at once as there is memory for."""
        tokens = self.config.batch_size * max(len(e.ids) for e in self._held_out)
        supervised = self.config.batch_size * max(
            len(s.ids) - s.supervised_from for e in self._held_out for s in (e, *e.choices)
        )
        each = self._footprint.evaluation(tokens, supervised)
        parts = []
        for rows in lane_groups(self.lanes.count, each, self.device.type):
            with self.lanes.some(rows):
                parts.append(self._evaluate(rows.stop - rows.start))
        return Evaluation(
            np.concatenate([part.loss for part in parts]),
            np.concatenate([part.accuracy for part in parts]),
        )

    def _evaluate(self, K: int = 1) -> Evaluation:
        return losses.evaluate(
            self.model,
            self._held_out,
            K,
            pad_id=self._pad_id,
            batch_size=self.config.batch_size,
            plain_text=self.task.plain_text,
        )

    def _is_evaluated(self, number: int) -> bool:
        return number == self.config.steps or _is_due(number, self.config.eval_every)

    def _rates(self, number: int) -> np.ndarray:
        """Return each lane's learning rate at a step: warm-up, then the schedule."""
        peak = np.array([lane.lr for lane in self.config.lanes])
        warmup, steps = self.config.warmup, self.config.steps
        if number <= warmup:
            return peak * number / warmup
        past = (number - 1 - warmup) / (steps - warmup)
        factor = {
            "constant": 1.0,
            "linear": 1.0 - past,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * past)),
        }
        return peak * factor[self.config.schedule]

    def _update(self, number: int, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Train every lane that is still in the race on the step's batch; return loss and norm."""
        chosen = batch_indices(
            len(self._train), self.config.batch_size, self.config.seed, number - 1
        )
        encoded = [self._train[i] for i in chosen]
        batch = losses.to_device(collate(encoded, self._pad_id), self.device)
        theta = self.lanes.theta
        theta.grad = None
        parts = []
        each = self._footprint.training(batch.input_ids.numel(), batch.index.numel())
        for rows in lane_groups(self.lanes.count, each, self.device.type):
            with self.lanes.some(rows):
                part = losses.lane_losses(self.model, batch, rows.stop - rows.start)
                part.sum().backward()
            parts.append(part.detach())
        assert theta.grad is not None
        norms = torch.linalg.vector_norm(theta.grad, dim=1)
        loss, norm = torch.stack([torch.cat(parts), norms]).double().cpu().numpy()
        healthy = np.isfinite(loss) & np.isfinite(norm)
        self.diverged_at[~healthy & (self.diverged_at == 0)] = number
        self._clip_gradient(theta.grad, norms)
        for k, (row, group) in enumerate(
            zip(self._rows, self._optimizer.param_groups, strict=True)
        ):
            group["lr"] = float(rates[k])
            # A lane that is out of the race keeps the last parameters that were finite.
            row.grad = None if self.diverged_at[k] else theta.grad[k]
        self._optimizer.step()
        if number == 1:
            self.first_grad_norm = norm
        self.last_loss = np.where(self.diverged_at > 0, self.last_loss, loss)
        self.tokens += sum(len(e.ids) for e in encoded)
        return loss, norm

    def _clip_gradient(self, gradient: Tensor, norms: Tensor) -> None:
        """Scale the gradients of the lanes that clip, as `clip_grad_norm_` does."""
        if torch.isinf(self._clip).all():
            return
        factor = (self._clip / (norms + 1e-6)).clamp(max=1.0)
        gradient.mul_(factor[:, None])


def _is_due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
