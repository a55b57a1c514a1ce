"""What a race reads: models, batches and held-out examples, and their fingerprints."""

from __future__ import annotations

import copy
import hashlib
import random
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from olora_viz.initializers import BUILT_IN, definition_of
from olora_viz.lanes.generation import TOKENS_BEYOND, drawn
from olora_viz.lanes.layers import pack_base
from olora_viz.machine.definition import Definition
from olora_viz.machine.devices import resolve_device, resolve_dtype
from olora_viz.machine.process import Progress
from olora_viz.measures.catalogue import measure_definitions
from olora_viz.measures.forgetting import Forgotten, base_predictions, forgotten
from olora_viz.models import MODELS, load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import DPO, IMITATION, NF4, REINFORCE
from olora_viz.races.replay import check_replay, predicted_by_base
from olora_viz.tasks import (
    TASKS,
    Batch,
    Encoded,
    Encoding,
    Example,
    Task,
    batch_indices,
    collate,
    encode,
    evaluation,
    load_task,
    losses,
)
from olora_viz.tasks.batches import Size, borders, packed, packed_size, sharing
from olora_viz.tasks.chat import Chat, unused_template
from olora_viz.tasks.evaluation import Evaluation, boilerplate_of, deciding_tokens, held_out_of
from olora_viz.tasks.files import Own, is_plain, own_task, read_examples, sha256_of
from olora_viz.tasks.hub import HUB
from olora_viz.tasks.keep import AUTO, NONE, text_to_keep
from olora_viz.tasks.metrics import MOST_SCORED, Metric, metric_name, plain_metric
from olora_viz.tasks.preferences import paired
from olora_viz.tasks.rows import all_answers
from olora_viz.tasks.task import deduplicated
from olora_viz.tasks.unpadded import can_unpad, needed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


V = TypeVar("V")


def check_pair(model: object, tokenizer: object) -> None:
    """Check that a race has a model of its own with its tokenizer, or neither.

    >>> check_pair("a model", None)
    Traceback (most recent call last):
    ValueError: the race has a model but no tokenizer: pass both or neither
    """
    if (model is None) != (tokenizer is None):
        passed, lacks = ("tokenizer", "model") if model is None else ("model", "tokenizer")
        raise ValueError(f"the race has a {passed} but no {lacks}: pass both or neither")


Predicted = tuple[list[Batch], list[Tensor]]
"""Batches, and the log-probabilities of a model at their supervised positions."""


class ModelCache:
    """The model of the latest of some races, one after the other, and what was computed with it.

    Detached lanes leave a model bitwise unchanged. So it is loaded once, and what does not depend on lanes is computed
    once: tokens, its own results on held-out examples, starts without a seed.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._loaded: Any = None
        self._values: dict[Hashable, Any] = {}
        self._used: set[Hashable] = set()

    def load(
        self, config: RaceConfig, progress: Progress | None = None
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return the model and the tokenizer of a set-up; other ones are forgotten before."""
        device = resolve_device(config.device)
        dtype = resolve_dtype(config.dtype, device)
        key = (config.model, device, dtype, config.base)
        if key != self._key:
            self.clear()
            self._loaded = load_model(config.model, device=device, dtype=dtype, progress=progress)
            if config.base == NF4:
                pack_base(self._loaded[0], repr(config.model))
            self._key = key
        return self._loaded

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the value of a key, after computing it the first time."""
        if key not in self._values:
            self._values[key] = compute()
        self._used.add(key)
        return self._values[key]

    def release(self) -> None:
        """Forget what no race has used since the last call, and everything on a GPU."""
        if self._loaded is not None and self._loaded[0].device.type != "cpu":
            self.clear()
        self.forget_unused()

    def forget_unused(self) -> None:
        """Forget what no race has used since the last call; the model stays where it is."""
        self._values = {key: self._values[key] for key in self._used if key in self._values}
        self._used = set()

    def clear(self) -> None:
        """Forget everything."""
        self._key = self._loaded = None
        self._values = {}


def task_of(config: RaceConfig, own: Own | None = None) -> Task:
    """Load the task of a race, or take the user's own, and the test examples of a separate file; cut to its rows.

    Raises:
        ValueError: an unknown name or an invalid file, or the test file is of another kind, or leaves nothing to train
            on, or there are fewer training examples than rows.
    """
    task = load_task(config.task, config.split_seed) if own is None else own_task(own, config.split_seed)
    if config.test is not None:
        task = _with_test(task, config.test, task.test if isinstance(own, Task) else all_answers(task.test))
    return task if config.rows is None else _first_rows(task, config.rows, config.split_seed)


def _first_rows(task: Task, rows: int, seed: int) -> Task:
    """Return a task with so many training examples: the first ones in an order of the seed, nested."""
    count = len(task.train)
    if rows > count:
        raise ValueError(f"rows {rows}: the task has {count} training examples")
    order = list(range(count))
    random.Random(f"rows {seed}").shuffle(order)
    return replace(task, train=tuple(task.train[i] for i in sorted(order[:rows])))


def _with_test(task: Task, file: str, rest: tuple[Example, ...]) -> Task:
    """Return a task with the test examples of a file; the `rest`, of its own ones, is trained on."""
    test = read_examples(Path(file).expanduser())
    if is_plain(test, file) != task.plain_text:
        text, pairs = (task.name, file) if task.plain_text else (file, task.name)
        raise ValueError(
            f"{text!r} is plain text, and {pairs!r} has prompts with answers: the test must be of one kind"
        )
    return deduplicated(replace(task, train=task.train + rest, test=test))


def _metric_of(config: RaceConfig, task: Task) -> Metric:
    """Return the metric of a race: its own, or that of the task.

    Raises:
        ValueError: the race names one, and the task has no answers or no test examples.
    """
    if config.metric == AUTO:
        return task.metric
    if config.metric != NONE and (task.plain_text or not task.test):
        lacks = "prompts and answers: it is plain text" if task.plain_text else "test examples: pass a test file"
        raise ValueError(f"the metric {metric_name(config.metric)!r} needs what the task {task.name!r} lacks, {lacks}")
    return config.metric


def reward_of(config: RaceConfig, task: Task) -> Metric:
    """Return the metric that is the reward of an answer: that of the race or its task, or else ``exact``."""
    metric = _metric_of(config, task)
    return "exact" if metric == NONE else metric


def model_name(config: RaceConfig) -> str:
    """Return the name of a race's model; of a folder its last part."""
    name = config.model
    return name if name in MODELS or not Path(name).expanduser().exists() else Path(name).name


CONTENTS = {
    "task_sha256": "task {0.task!r}",
    "test_sha256": "test file {0.test!r}",
    "own_task_sha256": "task of your own, {0.task!r},",
    "keep_sha256": "text to keep, {0.keep!r},",
}
"""The inputs, by the keys of ``config.json`` that hold their SHA-256."""


DEFINITIONS = "definitions"
"""The key of ``config.json`` that holds the result of `definitions_of`."""


def definitions_of(config: RaceConfig) -> dict[str, dict[str, str]]:
    """Return what tells the user's own starts and measurements of a race, and its metric, from others of their names.

    Raises:
        ValueError: a start is not registered.
    """
    starts = {init: definition_of(init) for init in dict.fromkeys(lane.init for lane in config.lanes)}
    own = {init: each for init, each in starts.items() if init not in BUILT_IN}
    metric = {plain_metric(config.metric): Definition(config.metric).fingerprint} if callable(config.metric) else {}
    return {"start": own, "measurement": measure_definitions() | metric}


def check_definitions(folder: Path, config: RaceConfig, before: Mapping[str, Mapping[str, str]]) -> None:
    """Check that the user's own starts and measurements of a run, and its metric, have not changed since it started.

    Args:
        before: the result of `definitions_of` at the start; what a folder does not have is not checked.

    Raises:
        ValueError: one has changed, or a start is not registered.
    """
    for what, now in definitions_of(config).items():
        for name, each in now.items():
            if each != (earlier := before.get(what, {}).get(name, each)):
                raise ValueError(
                    f"the {what} {name!r} has changed since the run in {str(folder)!r} started, from {earlier} to "
                    f"{each}, so it cannot be resumed"
                )


def contents_of(config: RaceConfig, own: Task | None) -> dict[str, str | None]:
    """Return the SHA-256 of a race's inputs, by the keys of `CONTENTS`; None for those it lacks."""
    rows = load_task(config.task, config.split_seed) if own is None and config.task.startswith(HUB) else None
    return {
        "task_sha256": sha256_of(rows) if rows else _content(config.task) if own is None else None,
        "test_sha256": _content(config.test),
        "own_task_sha256": sha256_of(own) if own else None,
        "keep_sha256": None if config.keep in (AUTO, NONE) else _content(config.keep),
    }


def check_contents(folder: Path, config: RaceConfig, before: Mapping[str, str | None], own: Own | None) -> None:
    """Check that the inputs of a run have not changed since it started.

    Args:
        before: the result of `contents_of` at the start.
        own: the user's own task that is passed now.

    Raises:
        ValueError: a file or a task has changed or is gone, or the user's own task is missing or not expected.
    """
    if own is None and before["own_task_sha256"]:
        raise ValueError(
            f"the run in {str(folder)!r} trains on a task of your own, {config.task!r}, which is "
            "not in the folder: continue it in Python, with ov.resume_run(folder, task=…)"
        )
    if own is not None and not before["own_task_sha256"]:
        raise ValueError(f"the run in {str(folder)!r} trains on {config.task!r}, not on a task of your own")
    now = contents_of(config, None if own is None else task_of(config, own))
    for key, what in CONTENTS.items():
        if before[key] and not now[key]:
            raise ValueError(f"the {what.format(config)} is missing, so the run in {str(folder)!r} cannot be resumed")
        if before[key] != now[key]:
            raise ValueError(
                f"the {what.format(config)} has changed since the run in {str(folder)!r} started, "
                "so it cannot be resumed"
            )


def _content(task: str | None) -> str | None:
    """Return the SHA-256 of a file; None for a named task."""
    if task is None or task in TASKS:
        return None
    path = Path(task).expanduser()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


class RaceData:
    """The tokens of one race's task, for its model.

    Attributes:
        task: where the examples come from.
        tokenizer: of the model.
        train, held_out: the training examples, and the held-out ones, at most ``config.eval_size``.
        cache: of earlier races on the model.
        about_held_out: a summary of them, with the accuracy of guessing.
        test: the test examples, at most ``config.test_size``; none if the task has no such part.
        branching: whether held-out and test examples share rows with their choices, see `can_branch`.
        unpads: whether training passes are without padding, see `can_unpad`.
        judged_rows: how many rows an evaluation reads at once.
        left_out, held_out_left_out, test_left_out: number of training, held-out and test examples that are too long,
            see `RaceConfig.max_length`.
        stops: whether answers end with an end token.
        metric, scored_examples: the metric of generated answers, and the test examples that it scores; none without.
        chat: the chat template that formats prompts and answers; None for plain text.
        longest: maximum tokens of an example.
        text: the text to keep; None if the race has none.
        text_rows: how many rows of it are read at once.

    Raises:
        ValueError: an example exceeds the model's context, no example is left, or the model's chat template is missing
            or does not fit.
    """

    def __init__(
        self,
        config: RaceConfig,
        task: Task,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        cache: ModelCache,
        name: str = "",
    ) -> None:
        self.task = task = learned(config, task)
        self._config, self._model, self.tokenizer, self.cache = config, model, tokenizer, cache
        self._device, self.judged_rows, self.text_rows = next(model.parameters()).device, config.prompts_in_pass, 1
        self._pad_id: Any = tokenizer.pad_token_id or 0
        self._context = losses.context_of(model) or sys.maxsize
        self.longest = config.max_length or self._context
        self.chat = chat_of(config, task, tokenizer, name or config.model)
        train = self._encode(task.train, choices=config.objective == DPO)
        held_out = self._encode(task.held_out)
        self.train_examples = train.examples
        self.train, self.held_out = train.kept, held_out.kept[: config.eval_size]
        test = self._encode(task.test) if task.test else Encoding((), ())
        self.test, self.test_left_out = test.kept[: config.test_size], test.left_out
        self.stops, self.metric = train.ends, _metric_of(config, task)
        self.scored_examples = test.examples[: min(config.test_size, MOST_SCORED)] if self.metric != NONE else ()
        self.left_out, self.held_out_left_out = train.left_out, held_out.left_out
        answers = (*self.train, *self.held_out, *self.test)
        self._boilerplate = boilerplate_of(answers, ends=train.ends, plain_text=task.plain_text)
        self.about_held_out = replace(
            held_out_of(
                train, held_out, test, (config.eval_size, config.test_size), self._boilerplate,
                plain_text=task.plain_text, longest=self.longest if config.truncate else 0,
            ),
            exact=task.duplicates.exact,
            near=task.duplicates.near,
            metric=metric_name(self.metric) if self.scored_examples else "",
        )  # fmt: skip
        self.text = text_to_keep(
            config.keep, config.model, tokenizer, context=self._context, train=task.train,
            split_seed=config.split_seed, chat=self.chat,
        )  # fmt: skip
        if self.text is not None and any(lane.replays for lane in config.lanes):
            check_replay(self.text)
        judged = (*self.held_out, *self.test)
        self.unpads = cache.get("unpads", lambda: can_unpad(model))
        self.branching = cache.get(("branching", judged), lambda: losses.can_branch(model, judged, self._pad_id))

    def batch(self, number: int, order: int) -> Batch:
        """Return the examples of a step, 1 for the first, in the order of a seed, on the device."""
        return losses.to_device(collate(self.examples(number, order), self._pad_id), self._device)

    def parts(self, number: int, order: int) -> list[Batch]:
        """Return a `batch` in the parts of ``config.accumulate`` passes, its examples in order."""
        examples = self.examples(number, order)
        spans = borders(len(examples), self._config.accumulate)
        return [losses.to_device(collate(examples[a:b], self._pad_id), self._device) for a, b in spans]

    def tokens(self, number: int, order: int) -> int:
        """Count the tokens of a `batch`, without padding."""
        return sum(len(each.ids) for example in self.examples(number, order) for each in example.choices or (example,))

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Return the training losses (K,) of the K active lanes, on one batch each.

        A batch shared by all lanes is read once.
        """
        if not self.unpads and all(batch is batches[0] for batch in batches):
            return losses.lane_losses(self._model, batches[0], len(batches))
        return losses.own_losses(self._model, batches, self._pad_id, without_padding=self.unpads)

    def batch_of(self, encoded: Sequence[Encoded], *, share: bool = False) -> Batch:
        """Return examples as one batch, in their order, on the device.

        Args:
            share: whether the tokens with which several of them begin are computed once, if passes have no padding
                and no dropout, whose masks differ from row to row.
        """
        batch = collate(encoded, self._pad_id)
        if share and self.unpads and not any(lane.dropout for lane in self._config.lanes):
            batch = sharing(batch)
        return losses.to_device(batch, self._device)

    def logits(self, batches: Sequence[Batch]) -> Tensor:
        """Return the logits of the K active lanes at the supervised tokens of one batch each, lane after lane."""
        return losses.own_logits(self._model, batches, self._pad_id, without_padding=self.unpads)

    def positions(self, batches: Sequence[Batch]) -> list[Tensor] | None:
        """Return the positions of the tokens of training passes; None if these have padding."""
        return [needed(batch) for batch in batches] if self.unpads else None

    def predictions(self, passage: Encoded) -> Tensor:
        """Return the log-probabilities (n, V) of the model without lanes at the supervised tokens of a passage."""
        return base_predictions(self._model, [self.batch_of([passage])])[0]

    def drawn(
        self, prompts: Sequence[Sequence[int]], count: int, seeds: Sequence[int], width: int = 0, samples: int = 1
    ) -> list[list[int]]:
        """Let the model, or its active lanes, draw so many tokens after each prompt, by seeds; see `drawn`."""
        return drawn(self._model, prompts, count, seeds, self._pad_id, width, samples)

    @cached_property
    def drawn_size(self) -> tuple[int, int]:
        """The tokens of the longest prompt, and those of the longest answer that a lane draws."""
        return drawn_size(self.train, self.stops, self._context)

    def evaluate(self, K: int = 1, *, test: bool = False, report: Callable[[float], None] | None = None) -> Evaluation:
        """Evaluate the K active lanes on the held-out examples, or on those of the test."""
        return evaluation.evaluate(
            self._model,
            self.judged(test),
            K,
            pad_id=self._pad_id,
            batch_size=self.judged_rows,
            plain_text=self.task.plain_text,
            boilerplate=self._boilerplate,
            branching=self.branching,
            report=report,
        )

    def evaluate_base(self, *, test: bool = False, report: Callable[[float], None] | None = None) -> Evaluation:
        """Evaluate the model without lanes, unless an earlier race has done so; see `evaluate`."""
        key = (self.judged(test), self.judged_rows, self.task.plain_text, self._boilerplate, self.branching)
        return self.cache.get(key, lambda: self.evaluate(test=test, report=report)).repeated(1)

    def forgotten(
        self, K: int = 1, *, read: Predicted | None = None, report: Callable[[float], None] | None = None
    ) -> Forgotten:
        """Measure the K active lanes on the text to keep; see `keep_base_predictions`, which comes first.

        Args:
            read: what is read in its place, and predicted by the model without lanes.
        """
        batches, base = read or self._base_predictions
        return forgotten(self._model, batches, base, K, report)

    def predicted_answers(self) -> Predicted:
        """Return what the model without lanes predicts at the right held-out answers."""
        batches = self.batches(self.held_out, self.judged_rows)
        return batches, base_predictions(self._model, batches)

    def keep_base_predictions(self) -> None:
        """Compute what the model without lanes predicts on the text to keep, unless an earlier race has done so."""
        assert self.text is not None
        encoded = self.text.encoded

        def predictions() -> Predicted:
            batches = self.batches(encoded, self.text_rows)
            return batches, base_predictions(self._model, batches)

        self._base_predictions = self.cache.get(("text to keep", self.text, self.text_rows), predictions)

    def batches(self, encoded: Sequence[Encoded], rows: int) -> list[Batch]:
        """Return examples without their choices in batches of at most so many rows, the shortest first."""
        parts = packed(sorted(encoded, key=lambda each: len(each.ids)), rows)
        return [losses.to_device(collate(part, self._pad_id), self._device) for part in parts]

    @property
    def predictions_bytes(self) -> int:
        """The memory of the base model's predictions on the text to keep, which a race holds; 0 without one.

        Those on what lanes with ``keep_kl`` replay are among them.
        """
        if self.text is None:
            return 0
        weight: Any = self._model.get_input_embeddings().weight
        tokens = self.text.tokens + predicted_by_base(self._config.lanes, self.text)
        return tokens * len(weight) * torch.promote_types(weight.dtype, torch.float32).itemsize

    def judged(self, test: bool = False) -> Sequence[Encoded]:
        """Return the held-out examples, or those of the test."""
        return self.test if test else self.held_out

    def deciding(self, test: bool = False) -> int:
        """Return how many tokens of the held-out answers, or of those of the test, count in a loss."""
        return deciding_tokens(self.judged(test), self._boilerplate)

    @property
    def unused_template(self) -> str:
        """A sentence on a chat template that is not used; empty if the model has none."""
        if self._config.chat or self.task.plain_text:
            return ""
        return unused_template(self.tokenizer, model_name(self._config))

    @property
    def too_long(self) -> list[str]:
        """A sentence on each part with prompts that were cut, or with examples left out."""
        without = " without the prompt" if self._config.truncate else ""
        counts = {"training": self.left_out, "held-out": self.held_out_left_out, "test": self.test_left_out}
        return self.about_held_out.cuts + [
            f"{count:,} {part} {'example is' if count == 1 else 'examples are'} longer than "
            f"{self.longest} tokens{without} and left out."
            for part, count in counts.items()
            if count
        ]

    @cached_property
    def judged_size(self) -> Size:
        """The size of the largest pass of `evaluate`."""
        return self.judged_with(self.judged_rows)

    def judged_with(self, rows: int) -> Size:
        """Return a size that no pass of `evaluate` exceeds if it reads so many rows at once."""
        return packed_size((*self.held_out, *self.test), rows, branching=self.branching)

    def text_with(self, rows: int) -> Size:
        """Return a size that no pass of `forgotten` exceeds if it reads so many rows at once."""
        return packed_size(self.text.encoded if self.text else (), rows)

    def trained_with(self, rows: int) -> Size:
        """Return a size that no pass of a step exceeds if it reads so many rows at once."""
        if self._config.objective == REINFORCE:
            rows, (width, count) = rows * self._config.samples, self.drawn_size
            return Size(rows, width + count, rows * count)
        read = [each.choices or (each,) for each in self.train]
        rows, lengths = rows * len(read[0]), [len(e.ids) - 1 for each in read for e in each]
        judged = sorted((len(e.ids) - e.supervised_from for each in read for e in each), reverse=True)
        epochs, rest = divmod(rows, len(judged))
        return Size(rows, max(lengths), epochs * sum(judged) + sum(judged[:rest]))

    def of_model(self, model: PreTrainedModel, most: int) -> RaceData:
        """Return the same data for another model with the same tokens, with the first so many examples to evaluate."""
        other = copy.copy(self)
        other._model, other.held_out, other.test = model, self.held_out[:most], self.test[:most]
        return other

    def in_parts(self, config: RaceConfig, judged_rows: int, text_rows: int) -> RaceData:
        """Return the same data for a set-up of another ``accumulate``, and other rows of an evaluation's pass."""
        other = copy.copy(self)
        other._config, other.judged_rows, other.text_rows = config, judged_rows, text_rows
        other.__dict__.pop("judged_size", None)
        return other

    def examples(self, number: int, order: int) -> list[Encoded]:
        """Return the examples of a step, 1 for the first, in the order of a seed."""
        return [self.train[i] for i in self.chosen(number, order)]

    def chosen(self, number: int, order: int) -> list[int]:
        """Return which training examples those are."""
        return batch_indices(len(self.train), self._config.batch_size, order, number - 1)

    def _encode(self, examples: Sequence[Example], *, choices: bool = True) -> Encoding:
        options = {
            "max_length": self._config.max_length, "ends": self.task.ends,
            "plain_text": self.task.plain_text, "choices": choices,
            "truncate": self._config.truncate,
        }  # fmt: skip
        return self.cache.get(
            ("encoded", tuple(examples), *options.values(), self.chat is not None),
            lambda: encode(examples, self.tokenizer, context=self._context, chat=self.chat, **options),
        )


def learned(config: RaceConfig, task: Task) -> Task:
    """Return a task as an objective learns from it: ``dpo`` from pairs.

    Raises:
        ValueError: it has no prompts with answers, or no wrong answers, and the objective needs them.
    """
    if config.objective != IMITATION and task.plain_text:
        raise ValueError(
            f"the objective {config.objective} needs prompts with answers, and {task.name!r} is plain text"
        )
    return paired(task, config.split_seed) if config.objective == DPO else task


def drawn_size(train: Sequence[Encoded], ends: bool, context: int) -> tuple[int, int]:
    """Return the tokens of the longest prompt, and those of the longest answer that a lane draws.

    Args:
        ends: whether answers end with an end token.
        context: maximum tokens of the model.
    """
    width = max(each.supervised_from for each in train)
    longest = max(len(each.ids) - each.supervised_from for each in train)
    return width, max(1, min(longest + TOKENS_BEYOND * ends, context + 1 - width))


def chat_of(config: RaceConfig, task: Task, tokenizer: PreTrainedTokenizerBase, name: str) -> Chat | None:
    """Return the chat template of a race; None for plain text.

    Raises:
        ValueError: there is none, it is faulty, or the task has no prompts.
    """
    if not config.chat:
        return None
    if task.plain_text:
        raise ValueError(
            f"the task {task.name!r} is plain text, without prompts and answers for a chat "
            "template: race it without chat"
        )
    return Chat(tokenizer, name)
