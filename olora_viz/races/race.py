"""A race: K lanes trained in lockstep on the same batches, as an iterator of `Step`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.generation import Answer, Answers, ask, ask_own, covering, written
from olora_viz.lanes.groups import as_base
from olora_viz.lanes.layers import bytes_of, float_bytes_of, worded
from olora_viz.lanes.passes import EvalMode, bypassed_modules
from olora_viz.lanes.past import Past
from olora_viz.machine.checks import check_whole, expect
from olora_viz.machine.devices import DTYPES, resolve_device
from olora_viz.machine.process import HeldInterrupt, OfLongWork, Progress, StoppedEarlyError
from olora_viz.machine.tables import finite_or_none, folded
from olora_viz.machine.wording import rounded
from olora_viz.measures.catalogue import MEASURES, MeasureError, measured
from olora_viz.measures.forgetting import Forgotten
from olora_viz.races.config import RaceConfig, config_html
from olora_viz.races.data import ModelCache, RaceData, check_pair, task_of
from olora_viz.races.export import save
from olora_viz.races.fields import FLOAT
from olora_viz.races.start import attach_lanes, text_at_start
from olora_viz.races.step import DIVERGED, FINISHED, RACING, STOPPED, Step, results_html, statuses
from olora_viz.races.trainer import RaceState, Reached, StepTransaction, Trainer
from olora_viz.tasks import Batch
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.evaluation import Evaluation, Tested, figures_of
from olora_viz.tasks.files import Own
from olora_viz.tasks.metrics import check_metric, mean_score

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST_ANSWER = 40
"""Tokens of an answer to a prompt of the user's own."""

GRADIENT = "gradient"
"""Among the tensors of a snapshot: the gradient of a step whose evaluation was stopped."""


def race(
    config: RaceConfig,
    *,
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    task: Own | None = None,
    progress: Progress | None = None,
) -> Race:
    """Set up a race; iterating over it trains the lanes.

    To pause, stop iterating, also by Ctrl-C, which waits for the step's update; a second one ends the step at once.
    What was cut short is undone, and another loop goes on there. `Race.close` ends the race. The same config gives
    bitwise the same steps on the same device, however often it is interrupted.

    Args:
        config: the set-up.
        model, tokenizer: used instead of loading ``config.model``; the model is in eval mode until the race ends.
        task: used instead of ``config.task``, which becomes its name: a `Task`, or rows with the columns of a task
            file, such as a ``datasets.Dataset`` or a table, which are split by content.
        progress: called with the progress of work that takes long; what it raises stops that as Ctrl-C does.

    Raises:
        ValueError: a value breaks a rule; the message names both.

    Examples:
        >>> import olora_viz as ov
        >>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_size=4)
        >>> [(step.step, step.loss.round(1).tolist()) for step in ov.race(config)]
        [(1, [5.5, 5.5]), (2, [5.4, 4.5])]
    """
    return Race(config, model, tokenizer, progress, task)


class Race(Iterator[Step]):
    """A running race, made by `race`: an iterator of `Step`.

    Attributes:
        config, task, model, tokenizer: the participants; in the config, fair rates are numbers, epochs are steps, and
            the dtype is that of the model.
        epochs: how often it sees all training examples, if it was set up so; else None.
        data: training examples in batches, and held-out examples.
        fair_rates: the fair rates of the lanes that requested them, in order.
        in_parts: in how many parts a batch is computed to fit into memory, in words; empty for one.
        baseline: held-out loss and accuracy of the base model, which every lane whose start keeps the model's function
            has at step 0.
        text: about the text to keep, with the results on it at step 0; None without one.
        trained: loss and gradients of the latest step, read by measurements; unset before the first.
        steps: the steps so far, in order, also for `steps_frame` and `plot_race`. None if it is not kept: in a race
            restored by `restore`, and in that of a run folder, which keeps them.
        in_step: whether some thread is computing a step right now.
        metric_failed: why a metric that is or was a function gave no scores, in a sentence; empty if it did.
        has_own_task: whether the task was passed to `race`.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=2, eval_size=4)
        >>> race = ov.race(config)
        >>> step = next(race)
        >>> race
        <Race on glassllm, sentiment: 2 lanes, step 1 of 2, racing>
        >>> others = list(race)  # goes on with step 2
        >>> race.status, list(race.summary()["lanes"])
        ('finished', ['lora', 'olora'])
        >>> (answer,) = race.answers(1)
        >>> answer.prompt, answer.expected, len(answer.lanes)
        ('The song was delightful and good. She was', 'happy', 2)
    """

    def __init__(
        self,
        config: RaceConfig,
        model: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        progress: Progress | None = None,
        task: Own | None = None,
        *,
        resumed: bool = False,
        cache: ModelCache | None = None,
        past: Past | None = None,
    ) -> None:
        expect(config, RaceConfig, "a RaceConfig, such as RaceConfig(model='glassllm')")
        resolve_device(config.device)
        check_metric(config.metric, scores=not resumed)
        self.task, self.has_own_task = task_of(config, task), task is not None
        if self.has_own_task:
            config = replace(config, task=self.task.name)
        self.config = config
        check_pair(model, tokenizer)
        name = config.model if model is None else type(model).__name__
        if config.base != FLOAT and model is not None:
            raise ValueError(
                f"base {config.base} is for a model that the race loads, and this one was passed: name its folder"
            )
        cache = cache or ModelCache()
        if model is None or tokenizer is None:
            model, tokenizer = cache.load(config, progress)
        self.model, self.tokenizer = model, tokenizer
        self.device = next(model.parameters()).device
        base = str(model.dtype).removeprefix("torch.")
        if config.dtype == "auto" and base in DTYPES:
            config = replace(config, dtype=base)  # also where its run goes on on another device
        self._mode = EvalMode(model)
        self.in_step = self._closed = False
        self._progress, self._held = OfLongWork(progress), HeldInterrupt()
        with ExitStack() as undoing:
            undoing.callback(self._mode.close)
            bypassed = bypassed_modules(model, repr(name))
            data = RaceData(config, self.task, model, tokenizer, cache, name)
            self.epochs, config = config.epochs, config.with_steps(data.about_held_out.train)
            sizing, self._lanes, self.fair_rates = attach_lanes(
                config, model, bypassed, data, progress, resumed=resumed, past=past
            )
            undoing.callback(self._lanes.detach)
            self.config, self.data, self.in_parts = sizing.config, sizing.data, sizing.words
            self.baseline = self._of_base(self._progress)
            if not np.isfinite(self.baseline.loss).all():
                raise ValueError(
                    f"the held-out loss of {config.model!r} is {self.baseline.loss[0]} before any "
                    "training: the weights must be damaged"
                )
            self._trainer = Trainer(
                self.config, self._lanes, self.data, sizing.footprint, self.baseline, self._progress
            )
            results = self.baseline.repeated(self._lanes.count)
            if past is not None or not all(lane.keeps_function for lane in self.config.lanes):
                results = self._trainer.evaluate(self._progress)
            self.text, forgotten = text_at_start(
                self.data, self._lanes, lambda: self._trainer.forgotten(self._progress)
            )
            undoing.pop_all()
        self._lanes.after_detach = self._mode.close
        state = RaceState.at_start(
            results, follows_best=config.follows_best, forgotten=forgotten, limited=config.forget is not None
        )
        self._step = StepTransaction(self._trainer, Reached(state, forgotten))
        self._tested: Tested | None = None
        self.metric_failed = ""
        self.steps: list[Step] | None = []

    def __iter__(self) -> Race:
        """A race is its own iterator: a second loop continues where the first one stopped."""
        return self

    def __next__(self) -> Step:
        """Run one step for all lanes.

        Whatever is raised in a step leaves the race as it was after the last one, or after the update if the
        evaluation was stopped, and the next call repeats the rest. For that, an update begins with a copy of theta and
        of the optimizer's moments, three matrices (K, P), which are free again when it is complete: on
        glassllm 13 MiB and a thousandth of a step's time for 15 lanes of rank 8, up to 3% of it with full fine-tuning.

        Raises:
            ValueError: a registered measurement failed after this step; the next call continues.
        """
        if self._step.now.unseen is None:
            if self.status != RACING:
                self._mode.close()
                raise StopIteration
            self._undo()
            self.in_step = True
            try:
                with HeldInterrupt() as self._held:
                    activate, computes_gradients = self._lanes.put_back(), torch.is_grad_enabled()
                    try:
                        self._run_step()
                    except BaseException:
                        torch.set_grad_enabled(computes_gradients)
                        activate()
                        self._step.torn = True
                        self._undo()
                        raise
                self._held.release()
            except StoppedEarlyError:
                if not self._closed:
                    raise
                raise StopIteration from None
            except KeyboardInterrupt as interrupt:
                raise interrupt.with_traceback(None) from None
            finally:
                self.in_step = False
                if self._closed:
                    self._mode.close()
        step = self._step.now.unseen
        self._step.commit(unseen=None)
        assert step is not None
        return step

    def _run_step(self) -> None:
        """Make a step: the update, unless it is made already, and what is measured after it."""
        self._mode.open()
        trainer, number, began = self._trainer, self.done + 1, time.perf_counter()
        state = self._step.begin()
        trainer.hide_best()
        if self._step.now.updated is None:
            trainer.keep_best(state, self.done)
            updated = trainer.update(number, state)
            state.seconds += time.perf_counter() - began
            self._step.commit(state=state, updated=updated)
            state, began = self._step.begin(), time.perf_counter()
        after = self.state
        self._step.stage(state=state)
        try:
            measures = self._evaluated(number)
        except MeasureError:
            self._step.commit(updated=None, shorter=self._if_shorter(after))
            raise
        state.seconds += time.perf_counter() - began
        step = Step(number, measures, state.seconds, state.tokens, statuses(state.out, early=state.early))
        if self.steps is not None:
            self.steps.append(step)
        self._step.commit(updated=None, shorter=self._if_shorter(after), unseen=step)

    def _undo(self) -> None:
        """Undo what a step that was cut short has left; it may be cut short and called again."""
        if self.torn:
            self._step.undo()
            if self.steps is not None:
                self.steps = [step for step in self.steps if step.step <= self.done]

    def _evaluated(self, number: int) -> dict[str, Any]:
        """Evaluate and measure the lanes after the update of a step."""
        state, updated, config = self.state, self._step.now.updated, self.config
        assert updated is not None
        evaluation = self._trainer.evaluate(self.go_on) if config.is_due("eval_loss", number) else None
        forgotten = self._trainer.forgotten(self.go_on) if config.is_due("drift", number) else None
        if evaluation is not None:
            state.evaluated(number, evaluation, config.patience, forgotten, self._most_text_loss)
        if forgotten is not None:
            self._step.stage(forgotten=forgotten.without(state.out))
        self.trained = updated.without(state.out)
        state.done = number
        due = {key: measure for key, measure in MEASURES.items() if config.is_due(key, number)}
        measures = {key: measured(measure, self) for key, measure in due.items()}
        self.tested()
        return measures

    @property
    def _most_text_loss(self) -> float:
        """The highest loss on the text to keep with which an evaluation counts as a lane's best."""
        limit = self.config.forget
        return math.inf if limit is None or self.text is None else self.text.loss + limit

    def _if_shorter(self, updated: RaceState) -> RaceState | None:
        """Return the state from which a race of more steps goes on, if the last step alone is why it was evaluated.

        Args:
            updated: the state before the evaluation.
        """
        state, config = self.state, self.config
        if state.done < config.steps or config.is_due("eval_loss", state.done, steps=math.inf):
            return self._step.now.shorter
        return replace(updated, done=state.done, diverged_at=state.diverged_at)

    def __len__(self) -> int:
        """Return how many steps are left at most, for progress bars such as ``tqdm(race)``."""
        return self.config.steps - self.done + (self._step.now.unseen is not None)

    def __bool__(self) -> bool:
        """Return True, also when no step is left."""
        return True

    def __repr__(self) -> str:
        """Return what races, and how far it is."""
        config = self.config
        lanes = f"Race on {config.model}, {config.task}: {len(config.lanes)} lanes"
        return f"<{lanes}, step {self.done} of {config.steps}, {self.status}>"

    def _repr_html_(self) -> str:
        results, base = self.state.of_lanes(self.config.labels, self.status), figures_of(self.baseline, 0)
        curves = np.array([step.loss for step in self.steps or ()]).reshape(-1, self._lanes.count)
        results = results_html(results, base, curves.T.tolist(), self.state.last_eval_step, repr(self)[1:-1])
        return results + folded("Set-up", config_html(self.config))

    @property
    def lanes(self) -> Lanes:
        """The lanes; with ``keep_best``, once the race has ended, with their best adapters."""
        if not self.in_step:
            self._undo()
        if not self.torn and self.status != RACING:
            self._trainer.show_best(self.state, self.updates)
        return self._lanes

    @property
    def state(self) -> RaceState:
        """The clock and the state of every lane."""
        return self._step.now.state

    @property
    def forgotten(self) -> Forgotten | None:
        """The latest results of the lanes on the text to keep; None without one."""
        return self._step.now.forgotten

    @property
    def final_forgotten(self) -> Forgotten | None:
        """The same of `lanes`: with ``keep_best``, once the race has ended, of their best adapters."""
        best = self.state.best if self.config.keep_best and self.status != RACING else None
        if self.forgotten is None or best is None or best.forgotten is None:
            return self.forgotten
        pairs = zip(best.forgotten, self.forgotten, strict=True)
        return Forgotten(*(np.where(np.isfinite(best.loss), at_best, last) for at_best, last in pairs))

    @property
    def torn(self) -> bool:
        """Whether a step is halfway, so that parameters and clock may not belong together: only while one runs."""
        return self._step.torn

    @property
    def done(self) -> int:
        """The number of completed steps."""
        return self.state.done

    @property
    def updates(self) -> int:
        """The number of updates of the lanes: one more than `done` if an evaluation was stopped."""
        return self.done + (self._step.now.updated is not None)

    def batch(self, number: int) -> Batch:
        """Return the batch of a step, 1 for the first, on the race's device.

        If lanes of different seeds train on different batches, this is the batch of seed 0.
        """
        return self.data.batch(number, self.config.seed)

    def go_on(self, part: float, words: str) -> None:
        """Progress callback of evaluations and long measurements, called where nothing is lost.

        Raises:
            StoppedEarlyError: the race is closed. Ctrl-C, and what the caller's own callback of progress raises, stop
                it as well.
        """
        torn, self._step.torn = self.torn, False
        if self._closed:
            raise StoppedEarlyError
        self._held.release()
        self._progress(part, words)
        self._step.torn = torn

    @property
    def afterwards(self) -> Progress:
        """The progress callback of work after a step, which stops when the race is closed in it."""
        return self._progress if self._closed else self.go_on

    def close(self) -> None:
        """Stop the race, also within an evaluation. The lanes stay for answers and export."""
        self._closed = True
        if not self.in_step:
            self._mode.close()

    @property
    def status(self) -> str:
        """``racing``, ``stopped``, ``finished`` or, if all lanes have diverged, ``diverged``."""
        if self.state.out.all():
            return DIVERGED
        if self.done >= self.config.steps or self.state.resting.all():
            return FINISHED
        return STOPPED if self._closed else RACING

    @property
    def without_gradient(self) -> list[str] | None:
        """The layers without a gradient in the first step, see `Trainer`."""
        return self._trainer.without_gradient

    @property
    def adapted(self) -> str:
        """Which of the model's weights the adapters adapt, and which they leave out, in words."""
        plan = self.lanes.plan
        return worded(plan.coverage, plan.coverages, self.without_gradient)

    def answers(self, count: int) -> Answers:
        """Return greedy answers of the base model and every lane to `count` held-out prompts.

        They have as many different right answers as there are among the held-out examples.
        """
        if isinstance(count, str):
            raise ValueError(f"answers() takes a number of held-out prompts; for your own, call answer({count!r})")
        check_whole("the number of prompts", count, least=1)
        held_out, plain_text = covering(self.data.held_out, count), self.task.plain_text
        with closing(EvalMode(self.model)):
            answers = ask(
                self.lanes, self.tokenizer, held_out, self.afterwards, plain_text=plain_text, chat=self.data.chat
            )
        return self._after_this_step(answers)

    def answer(self, prompt: str) -> Answers:
        """Return greedy answers of the base model and every lane to a prompt of your own.

        They read exactly this text, as a message of the user if the race has a chat template, so write it like a
        prompt of the task. If the race truncates, a longer one is cut at its left, so that prompt and answer are no
        longer than its examples. An answer is as long as the longest held-out one, and at most 40 tokens.

        Args:
            prompt: without a space at its end, which would belong to the answer.

        Raises:
            ValueError: the prompt is empty, or too long for the model's context.
        """
        lengths = [len(example.ids) - example.supervised_from for example in self.data.held_out]
        length = LONGEST_ANSWER if self.task.plain_text else min(LONGEST_ANSWER, max(lengths))
        limit = self.data.longest if self.config.truncate else math.inf
        with closing(EvalMode(self.model)):
            answer = ask_own(
                self.lanes, self.tokenizer, prompt, length, self.afterwards, chat=self.data.chat, limit=limit
            )
        return self._after_this_step([answer])

    def _after_this_step(self, answers: Iterable[Answer]) -> Answers:
        """Return answers with the step of the lanes' adapters; None if each has its own best one."""
        step = None if self.config.keep_best and self.status != RACING else self.updates
        return Answers((replace(answer, step=step) for answer in answers), self.lanes.labels)

    def summary(self) -> dict[str, Any]:
        """Return the results so far as plain values.

        ``final_loss`` is the held-out loss, ``final_boilerplate_loss`` that of the end token, ``parameters`` the
        number that a lane trains, ``final_text_loss`` and ``final_drift`` those on the text to keep, with
        ``keep_best`` of the adapter that is kept. Those of the test are of finished lanes, and None before;
        ``test_score``, in a race with a metric, is that of the generated answers.
        ``merged_races`` is how many earlier ones were merged into the lanes' bases, see `chain`.
        """
        config, data, about = self.config, self.data, self.data.about_held_out
        base = figures_of(self.baseline, 0)
        lanes = self.state.of_lanes(self.lanes.labels, self.status)
        for values, count in zip(lanes.values(), self.lanes.plan.parameters, strict=True):
            values["parameters"] = count
            if config.follows_best or self.updates > self.done:
                best = values["best_step"] if config.keep_best else None
                last = values.get("stopped_at") or self.updates
                values["adapter_step"] = last if best is None else best
        if data.test:
            tested = self.tested()
            base |= figures_of(tested.base if tested else None, 0, "test_")
            for k, values in enumerate(lanes.values()):
                values |= figures_of(tested.lanes if tested else None, k, "test_")
            if about.metric:
                base["test_score"] = finite_or_none(tested.base.score[0]) if tested else None
                for k, values in enumerate(lanes.values()):
                    values["test_score"] = finite_or_none(tested.lanes.score[k]) if tested else None
        if self.text and self.final_forgotten:
            base["text_loss"] = self.text.loss
            for k, values in enumerate(lanes.values()):
                for name, of_lanes in self.final_forgotten._asdict().items():
                    values[f"final_{name}"] = finite_or_none(of_lanes[k])
        return {
            "status": self.status,
            "model": config.model,
            "task": config.task,
            "plain_text": self.task.plain_text,
            "device": str(self.device),
            "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
            "frozen": {"base": config.base, "bytes": bytes_of(self.model), "float_bytes": float_bytes_of(self.model)},
            "steps": self.done,
            "epochs": rounded(Epochs(self.done * config.batch_size, about.train).number, 4),
            "seconds": round(self.state.seconds, 3),
            "tokens": self.state.tokens,
            "adapted": self.adapted,
            "in_parts": self.in_parts,
            "merged_races": 0 if self._lanes.past is None else self._lanes.past.links,
            "coverage": self.lanes.plan.coverage.to_json(),
            **({"ranks": ranks} if (ranks := self.lanes.plan.ranks_by_layer) else {}),
            "without_gradient": self.without_gradient,
            "examples": {"train": about.train, "held_out": about.examples, "test": about.test},
            "duplicates": {"exact": about.exact, "near": about.near},
            "left_out": data.left_out,
            "held_out_left_out": data.held_out_left_out,
            "held_out": asdict(about),
            "test_left_out": data.test_left_out,
            **({"metric_failed": self.metric_failed} if self.metric_failed else {}),
            "text": self.text and self.text.to_json(),
            "base": base,
            "lanes": lanes,
        }

    def tested(self) -> Tested | None:
        """Evaluate the base model and the finished lanes on the test examples, once.

        None before the end, or if there are no test examples.
        """
        if self._tested is None and self.status == FINISHED and self.data.test:
            self._trainer.show_best(self.state, self.done)
            progress = self.afterwards
            with closing(EvalMode(self.model)):
                base = self._of_base(progress, test=True)
                lanes = self._trainer.evaluate(progress, test=True)
                base, lanes = self._scored(base, lanes, progress)
            lanes.lose(self.state.out)
            self._tested = Tested(base, lanes)
        return self._tested

    def _scored(self, base: Evaluation, lanes: Evaluation, progress: Progress) -> tuple[Evaluation, Evaluation]:
        """Return results on the test examples with the scores of generated answers, if the race has a metric."""
        data, examples = self.data, self.data.scored_examples
        if not examples:
            return base, lanes
        test = data.test[: len(examples)]
        try:
            check_metric(data.metric, scores=True)
            said = written(self._lanes, self.tokenizer, test, progress, chat=data.chat, stops=data.stops)
            scores = np.array([mean_score(data.metric, examples, answers) for answers in said])
        except ValueError as error:
            self.metric_failed = str(error)
            if callable(data.metric):
                warnings.warn(f"{error}; the race itself is complete", stacklevel=2)
            return base, lanes
        return replace(base, score=scores[:1]), replace(lanes, score=scores[1:])

    def _of_base(self, progress: Progress, *, test: bool = False) -> Evaluation:
        """Evaluate the base model on the held-out or the test examples."""

        def evaluate(tell: Progress) -> Evaluation:
            return self.data.evaluate_base(test=test, report=lambda part: tell(part, "evaluating the base model"))

        return as_base(self._lanes, evaluate, progress)

    def task_drift(self) -> np.ndarray:
        """Return the mean KL(base‖lane) of every lane at the right held-out answers, (K,), nats per token.

        NaN where a lane has diverged.
        """
        _ = self.lanes  # the best adapters, if they are kept
        return np.where(self.state.out, np.nan, self._trainer.task_drift(self.afterwards))

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load_run`, the command line and the page read.

        It holds the set-up, the steps, a checkpoint from which ``race --resume`` goes on bitwise, the adapters in
        PEFT's format and, if the race has ended, its summary.

        Args:
            folder: new or empty.

        Raises:
            ValueError: the folder is not empty, the disk is too full, a step was cut short, the race does not keep its
                `steps`, or the schedule is a function.
        """
        save(self, folder)

    def snapshot(self) -> dict[str, Tensor]:
        """Return everything needed to resume bitwise, besides the config, as tensors on the CPU.

        Raises:
            ValueError: a step is running.
        """
        if self.in_step and self.torn:
            raise ValueError(f"step {self.done + 1} is running: a snapshot is taken between two steps")
        self._undo()
        whole, gradient = self._step.whole, self._lanes.theta.grad
        tensors = {**self._trainer.snapshot(), **whole.to_tensors()}
        if whole.updated is not None and gradient is not None:
            tensors[GRADIENT] = gradient.cpu().clone()
        return tensors

    def check_snapshot(self, snapshot: dict[str, Tensor]) -> None:
        """Check that a snapshot fits this race.

        Raises:
            ValueError: the snapshot is of another race.
        """
        self._trainer.check(snapshot, self.state)

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Restore a `snapshot` of a race with the same config.

        Raises:
            ValueError: the snapshot is of another race.
        """
        self.check_snapshot(snapshot)
        self._step.restore(snapshot, self._lanes.layers, self.config.steps)
        if GRADIENT in snapshot:
            theta = self._lanes.theta
            theta.grad = snapshot[GRADIENT].to(theta.device)
        self._tested = None
        if self.steps is not None:
            known = self.steps[: self.done]
            self.steps = known if len(known) == self.done else None
