"""Studies on which each claim has a verdict that is known beforehand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from support.planted_losses import STUDY, Loss, bowl, noise, row, study

from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.measures.forgetting import Forgotten
from olora_viz.studies.claims import (
    alpha,
    attention_alone,
    few_rows,
    high_ranks_collapse,
    level_at_best,
    one_adapter,
    own_samples,
    rewards_order,
    rewards_rank_one,
    start_matters_least,
    tuned_batch,
)
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.claims.evidence import ON_FOUR_BITS, Costs, Drift, OnFourBits
from olora_viz.studies.claims.regularizes import LossCurve
from olora_viz.studies.rows import FORGOTTEN, FORGOTTEN_ACCURACY, Row, column_of_link
from olora_viz.studies.search import needed
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

RATES_OF_DTYPES = (2.5e-4, 5e-4, 1e-3, 2e-3)

WIDE = Study().changed(race={"dtype": "float32"}, tune={"lr": RATES_OF_DTYPES}, seeds=4)

NARROW = WIDE.changed({"dtype": "bfloat16"})


def loss_of_dtypes(trial: Trial) -> float:
    """OLoRA's is lower by 0.2 nats throughout."""
    return 1.0 + bowl(trial.lr, 8e-4) + 0.1 * trial.seed - 0.2 * (trial.method == "olora")


def study_of_dtypes(base: Study, swallowed: float = 0.0, seed: int = 0) -> Verdicts:
    """A study whose OLoRA loses something at the lowest rate; other seeds have other noise."""
    cell = next(iter(base.cells()))
    trials = [trial for init in base.compare for trial in base.trials(cell, init, base.lrs)]
    random = np.random.default_rng(seed)
    losses = {
        trial: loss_of_dtypes(trial) + (random.normal(0, 0.3) if seed else noise(trial))
        + swallowed * (trial.method == "olora" and trial.lr == RATES_OF_DTYPES[0])
        for trial in trials
    }  # fmt: skip
    return verdicts_of(base, {trial: row(value) for trial, value in losses.items()})


def planted_errors(**errors: float) -> OnFourBits:
    """Errors beside a base in four bits, in three layers at two ranks: 1 unless given."""
    cells = {(method, r): np.full(3, errors.get(str(method), 1.0)) for method in ON_FOUR_BITS for r in (4, 8)}
    return OnFourBits(cells, dict.fromkeys(cells, Forgotten(np.full(1, 2.0), np.full(1, 0.5))), 1.9)


WILD = math.nan
"""A difference that no number of seeds here can tell: it is another one with each."""

ATTENTION, MLP = "lora:targets=attention,params=74k", "lora:targets=mlp,params=74k"

DOWN = "lora:targets=layers.0.mlp.down_proj", "lora:targets=layers.1.mlp.down_proj"

EQUAL = {"lora": 73_696, ATTENTION: 75_264, MLP: 73_164}


def planted_choices(base: Study, shifts: dict[str, float], few: float = 0.0) -> Verdicts:
    """Return the verdicts of a study whose methods have these losses more than the first; `few` on 50 rows."""

    def loss(its: Trial) -> float:
        shift = shifts.get(its.method, 0.0) + few * (dict(its.cell.others).get("rows") == 50)
        if math.isnan(shift):
            shift = float(np.random.default_rng([its.seed, *its.method.encode()]).normal(0, 0.5))
        return 1.0 + bowl(its.lr) + 0.1 * its.seed + shift

    return study(loss, base)


def comparing(*methods: str) -> Study:
    return Study(tune={"lr": STUDY.lrs}, compare=("lora", *methods), seeds=5)


ALPHAS = comparing("lora:alpha=r/4", "lora:alpha=2r")

BATCHES = comparing("pissa", "milora").changed(tune={"batch_size": (4, 8)})

ATTENTIONS = comparing(ATTENTION, MLP)

ADAPTERS = comparing(*DOWN)

ROWS = comparing("olora").changed(across={"rows": (50, 500)})

SAMPLES = STUDY.changed(
    {"keep": "auto"}, compare=("lora", "lora:replay=0.05,replay_from=base", "lora:replay=0.2,replay_from=base")
)

REWARDED = comparing("pissa", "milora", "orthogonal", "olora").changed({"objective": "reinforce"})

RANKS = comparing("lora:r=1", "lora:r=64").changed({"objective": "reinforce"})

CHOICES = comparing("olora", "pissa", "lora:alpha=2r", "lora:r=2", ATTENTION)

Judge = Callable[[Verdicts], Finding]


def on_attention(verdicts: Verdicts) -> Finding:
    counts = {method: EQUAL.get(method, 1) for method in verdicts.study.compare}
    return attention_alone.judge(verdicts, dict.fromkeys(verdicts.study.cells(), counts))


OPTIMIZED = comparing("olora", "pissa").changed(across={"opt": ("adamw", "sgd", "riemannian")})


def planted_optimizers(shifts: Mapping[tuple[str, str], float]) -> Verdicts:
    """Return the verdicts of a study with these losses more than the reference's, by optimizer and method."""

    def loss(its: Trial) -> float:
        opt = its.cell.settings["opt"]
        shift = shifts.get((opt, its.method), 0.0)
        if math.isnan(shift):
            shift = float(np.random.default_rng([its.seed, *its.method.encode()]).normal(0, 0.5))
        return 1.0 + bowl(its.lr / OPTIMIZERS[opt].rate) + 0.1 * its.seed + shift

    return study(loss, OPTIMIZED)


JUDGES: dict[str, tuple[Judge, Study]] = {
    "alpha": (alpha.judge, ALPHAS),
    "tuned-batch": (tuned_batch.judge, BATCHES),
    "attention-alone": (on_attention, ATTENTIONS),
    "one-adapter": (one_adapter.judge, ADAPTERS),
    "few-rows": (few_rows.judge, ROWS),
    "start-matters-least": (start_matters_least.judge, CHOICES),
    "own-samples": (own_samples.judge, SAMPLES),
    "rewards-order": (rewards_order.judge, REWARDED),
    "rewards-rank-one": (rewards_rank_one.judge, RANKS),
    "high-ranks-collapse": (high_ranks_collapse.judge, RANKS),
}

BEST_OF_FORGETTING = 2e-3

RATES_OF_FORGETTING = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)

OF_TWO = Study().changed(race={"keep": "auto"}, tune={"lr": RATES_OF_FORGETTING}, seeds=4)

OF_MINOR = replace(OF_TWO, compare=("lora", "olora", "milora", "mica"))

OF_FULL = replace(OF_TWO, compare=("lora", "full"))

LITTLE_REPLAY = "lora:replay=0.01", "lora:replay=0.05"

OF_REPLAY = replace(OF_TWO, compare=("lora", *LITTLE_REPLAY))


def forgetting(base: Study, loss: Loss, drift: Callable[[Trial], float]) -> Verdicts:
    """Return the verdicts of a study whose losses and drifts are known."""
    found = study(loss, base)

    def drawn(trial: Trial) -> float:
        noise = np.random.default_rng([trial.seed, round(1e6 * trial.lr), *trial.method.encode()]).normal(0, 0.01)
        return drift(trial) * math.exp(noise + 0.2 * trial.seed)

    return verdicts_of(
        base,
        {
            trial: row | {"base_text_loss": 4.0, "text_loss": 4.0 + drawn(trial), "drift": drawn(trial)}
            for trial, row in found.rows.items()
        },
    )


def planted_forgetting(
    base: Study, times: Mapping[str, float], best: Mapping[str, float] | None = None, gain: float = 0.0
) -> Verdicts:
    """Return a study in which a method forgets so many times as much as LoRA at every rate.

    Args:
        best: the best rates that are not LoRA's.
        gain: by which full fine-tuning's loss is lower.
    """
    rates = best or {}
    return forgetting(
        base,
        lambda trial: (
            1.0 + bowl(trial.lr, rates.get(trial.method, BEST_OF_FORGETTING)) - gain * (trial.method == "full")
        ),
        lambda trial: times.get(trial.method, 1.0) * trial.lr / BEST_OF_FORGETTING,
    )


OF_CHAIN = replace(
    OF_TWO, compare=("lora", "olora", "pissa", "full"), race=OF_TWO.race.replace(task="addition+uppercase+roman")
)


def planted_chain(more: Mapping[str, float], best: Mapping[str, float] | None = None) -> Verdicts:
    """Return a study of a chain in which a method forgets so many nats more than LoRA does at every rate.

    Args:
        best: the best rates that are not LoRA's: at a share of LoRA's, it learns and forgets as much as LoRA does.
    """
    rates = best or {}

    def at(trial: Trial) -> float:
        return trial.lr / rates.get(trial.method, BEST_OF_FORGETTING)

    found = study(lambda trial: 1.0 + bowl(at(trial), 1.0), OF_CHAIN)

    def measures(trial: Trial, row: Row) -> dict[str, float]:
        noise = np.random.default_rng([trial.seed, round(1e6 * trial.lr), *trial.method.encode()]).normal(0, 0.003)
        lost = 0.5 + 0.1 * math.log(at(trial)) + 0.05 * trial.seed + more.get(trial.method, 0.0) + noise
        learned = {column_of_link(number): row["test_loss"] for number in (1, 2, 3)}
        return learned | {FORGOTTEN: lost, FORGOTTEN_ACCURACY: lost / 10}

    return verdicts_of(
        OF_CHAIN, {trial: {**row, "measures": measures(trial, row)} for trial, row in found.rows.items()}
    )


RATES_OF_FULL = tuple(1e-4 * 2.0**k for k in range(8))

STUDY_OF_FULL = Study(tune={"lr": RATES_OF_FULL}, compare=("lora", "olora", "full"), seeds=4)

SMALL = STUDY_OF_FULL.changed({"batch_size": 8, "steps": 80}, tune={"lr": RATES_OF_FULL[2:6]})

LARGE = SMALL.changed({"batch_size": 32, "steps": 20})


def best_at(**rates: float) -> Loss:
    """A bowl of the loss around each method's best rate."""
    return lambda its: 1.0 + bowl(its.lr, rates[its.method])


def costing(**costs: float) -> tuple[Verdicts, Verdicts]:
    """Two studies of which the larger batch costs each method so much."""

    def loss(its: Trial) -> float:
        return 1.0 + bowl(its.lr, 8e-4) + 0.1 * its.seed

    return study(loss, SMALL), study(lambda its: loss(its) + costs[its.method], LARGE)


def costs(time: float = 1.0, memory: float = 1.0, start: float = 1.0) -> Costs:
    """Return costs of which OLoRA's are so many times LoRA's; a start takes two of its steps."""
    drawn = np.random.default_rng(0)
    seconds = 0.1 * np.exp(drawn.normal(0, 0.02, (7, 2))) * [1.0, time]
    starts = np.full((7, 2), 0.2) * [1.0, start]
    return Costs(starts, seconds, (10**6, int(memory * 10**6)), (500, 500))


INITS_OF_LEVEL: tuple[str, ...] = ("lora", "olora", "pissa", "milora", "orthogonal")

SHARP = dict(zip(INITS_OF_LEVEL, (1.0, 100.0, 40.0, 6.0, 15.0), strict=True))

STUDY_OF_LEVEL = Study(
    across={"r": (4, 16)}, tune={"lr": tuple(1e-4 * 2.0**k for k in range(9))}, compare=INITS_OF_LEVEL, seeds=5
)


def losing(power: float, worse: float = 0.0) -> Callable[[Trial], float]:
    """Return losses whose best rate is λ_max to a power; PiSSA's are worse by so much."""

    def loss(its: Trial) -> float:
        best = 5e-3 * SHARP[its.method] ** power
        return 1.0 + 0.3 * math.log(its.lr / best) ** 2 + worse * (its.method == "pissa")

    return loss


def judged_level(power: float, worse: float = 0.0, base: Study = STUDY_OF_LEVEL) -> level_at_best.Finding:
    sharpness = {
        cell: {init: SHARP[init] * cell.r * np.array([0.9, 1.1]) for init in base.compare} for cell in base.cells()
    }
    return level_at_best.judge(study(losing(power, worse), base), sharpness)


STUDY_OF_LENGTHS = Study().changed(race={"steps": 60}, tune={"lr": tuple(1e-4 * 2.0**k for k in range(10))}, seeds=5)

LENGTHS = (10, 20, 30, 40, 50, 60)

Best = Callable[[str, int], float]


def study_of_lengths(best: Best, base: Study = STUDY_OF_LENGTHS) -> Verdicts:
    """Return a study in which the loss of a method at a length is lowest at a known rate."""

    def losses(its: Trial) -> list[float]:
        return [1.0 + math.log(its.lr / best(its.method, at)) ** 2 + noise(its) for at in LENGTHS]

    known: dict[Trial, float] = {}
    while todo := needed(base, known):
        known |= {trial: losses(trial)[-1] for trial in todo}
    rows = {
        trial: row(loss) | {"evaluated": list(LENGTHS), "valid_losses": losses(trial)} for trial, loss in known.items()
    }
    return verdicts_of(base, rows)


def moving(lora: float, olora: float) -> Best:
    powers = {"lora": lora, "olora": olora}
    return lambda init, length: 2e-3 * (length / 30) ** powers[init]


KEPT = Drift((0, 1, 20), np.array([[0.0] * 3, [0.001] * 3, [0.01, 0.011, 0.012]]))


def curve(gap: float, fastness: float, seed: int) -> LossCurve:
    """Return a run whose validation loss exceeds its training loss by a known gap at 0.5."""
    training = 2.0 * np.exp(-fastness * np.arange(6))
    noise = np.random.default_rng([seed, int(100 * fastness)]).normal(0, 0.005)
    return LossCurve(training, training + gap * (2.5 - training) / 2 + noise)


OBJECTIVES = STUDY.changed({"keep": "auto"}, {"objective": ("imitation", "dpo", "reinforce")})


def planted_objectives(
    *, times: float = 1.0, forgets: Mapping[str, float] | None = None, right: float = 1.0
) -> Verdicts:
    """Return a study of objectives in which runs move as their rate does, and forget as the KL on the task says.

    Args:
        times: how much further imitation moves the weights than the others.
        forgets: how much more than that an objective forgets, as a logarithm.
        right: share of right answers under rewards.
    """
    found = study(lambda its: 1.0 + bowl(its.lr) + 0.1 * its.seed, OBJECTIVES)

    def measured(trial: Trial) -> dict[str, Any]:
        objective = dict(trial.cell.others)["objective"]
        key = [trial.seed, round(1e6 * trial.lr), *trial.method.encode(), *objective.encode()]
        noise = np.random.default_rng(key).normal(0, 0.01)
        kl = trial.lr * 100 * math.exp(noise + 0.1 * trial.seed)
        drift = kl**1.5 * math.exp((forgets or {}).get(objective, 0.0) + noise)
        moved = 1e3 * trial.lr * math.exp(noise) * (times if objective == "imitation" else 1.0)
        return {
            "measures": {"moved": moved, "task_drift": kl, "test_sampled": kl / (1 + kl)},
            "drift": drift, "base_text_loss": 4.0, "text_loss": 4.0 + drift,
            "test_accuracy": right if objective == "reinforce" else 1.0,
        }  # fmt: skip

    return verdicts_of(OBJECTIVES, {trial: row | measured(trial) for trial, row in found.rows.items()})
