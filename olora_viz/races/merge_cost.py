"""What a merge costs: the results of an adapter merged into its model, beside those of the adapter on the base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from markupsafe import Markup
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.groups import on_a_core
from olora_viz.lanes.layers import adaptable_layers, is_linear, weight_of
from olora_viz.lanes.passes import EvalMode
from olora_viz.machine.checks import check_whole
from olora_viz.machine.four_bit import nf4
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress
from olora_viz.machine.tables import finite_or_none, table
from olora_viz.machine.wording import and_, counted, number, percent
from olora_viz.measures.forgetting import base_predictions, forgotten
from olora_viz.races.step import FINISHED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from olora_viz.races.race import Race

FOUR_BITS = "nf4"
"""The form of a model that is stored in bfloat16, and whose linear layers are loaded in four bits."""

FORMS = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, FOUR_BITS: torch.bfloat16,
}  # fmt: skip
"""The forms of a merged model, with the dtype to which all of its weights are rounded."""

MARGIN = 0.02
"""A rise of the loss up to this share of what the adapter has gained does not matter, as in a study."""

READ_EXAMPLES = 64
"""Examples that are read, at most. All forms read the same ones, so few show a difference."""


@dataclass(frozen=True)
class FormResults:
    """The results of one form of a model."""

    loss: float
    """Held-out or test loss, nats per token."""
    accuracy: float
    """From 0 to 1, as `Evaluation` has it."""
    drift: float
    """Mean of KL(adapter beside the base‖this form) over the tokens of the right answers, nats per token."""


@dataclass(frozen=True)
class MergeCost:
    """The results of an adapter in several forms on the same examples; made by `merge_cost`.

    Examples:
        >>> import olora_viz as ov
        >>> race = ov.race(ov.RaceConfig(lanes=(ov.Lane("olora", lr=3e-3),), steps=8, eval_every=0))
        >>> steps = list(race)
        >>> cost = ov.merge_cost(race, 0, most=16)
        >>> print(cost.sentence)  # doctest: +ELLIPSIS
        Merging costs nothing that matters in float32, bfloat16, float16 and nf4: the test loss, ...
        >>> cost.beside.loss < cost.base.loss
        True
    """

    lane: str
    part: str
    """``test`` if the race has finished and has such examples, else ``held-out``."""
    examples: int
    """Number of examples that were read."""
    computed_in: str
    """``float32``, so that only weights are rounded, or ``its own dtype``."""
    base: FormResults
    """Of the base model without the adapter."""
    beside: FormResults
    """Of the adapter beside the base, in the race's dtype; its drift is 0."""
    merged: dict[str, FormResults]
    """Of the merged model in each of `FORMS`."""

    @property
    def rows(self) -> list[list[str]]:
        """The table as text, its head first."""
        named = {"base model": self.base, "beside the base": self.beside}
        named |= {f"merged, {form}": results for form, results in self.merged.items()}
        head = ["", f"{self.part} loss", "accuracy", "drift"]
        return [head] + [
            [name, number(each.loss, ".4f"), percent(each.accuracy, 1), number(each.drift, ".2g")]
            for name, each in named.items()
        ]

    @property
    def sentence(self) -> str:
        """What a merge costs, and what to do."""
        before, gained = self.beside.loss, self.base.loss - self.beside.loss
        if not gained > 0:
            bases = f"not below the base model's, {self.base.loss:.4f}"
            return f"The adapter's {self.part} loss, {before:.4f}, is {bases}: it has nothing that a merge could cost."
        costly = {form: each for form, each in self.merged.items() if not each.loss - before <= MARGIN * gained}
        free = [form for form in self.merged if form not in costly]
        if not costly:
            most = max(abs(each.loss - before) for each in self.merged.values())
            moves = f"the {self.part} loss, {before:.4f} beside the base, moves by {most:.2g} at most"
            return f"Merging costs nothing that matters in {and_(free)}: {moves}."
        changes = and_([
            f"into {form} changes the {self.part} loss from {before:.4f} to {each.loss:.4f} and the accuracy from "
            f"{self.beside.accuracy:.1%} to {each.accuracy:.1%}"
            for form, each in costly.items()
        ])  # fmt: skip
        instead = f", or merge it into {and_(free).replace(' and ', ' or ')}" if free else ""
        return f"Merging {changes}: keep the adapter beside the base{instead}."

    @property
    def basis(self) -> str:
        """On what the numbers rest."""
        return (
            f"{counted(self.examples, f'{self.part} example')}; drift: KL(adapter beside the base‖form) on the right "
            f"answers, nats per token; each merged form is computed in {self.computed_in}"
        )

    def _repr_html_(self) -> str:
        head, *rows = self.rows
        return table(head, rows, self.basis) + Markup("<p>{}</p>").format(self.sentence)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is not finite is null."""
        values = asdict(self)
        for each in (values["base"], values["beside"], *values["merged"].values()):
            each.update({name: finite_or_none(value) for name, value in each.items()})
        return values | {"sentence": self.sentence}


def merge_cost(race: Race, k: int | str, most: int = READ_EXAMPLES) -> MergeCost:
    """Compare a lane's adapter beside the base with the merged model in float32, bfloat16, float16 and 4 bits.

    W + ΔW and all other weights are rounded once to the form's dtype. For ``nf4`` that is bfloat16, and linear layers
    other than the head are then rounded again, as bitsandbytes loads such a folder in 4 bits. A merged model is
    computed in its own dtype, but in float32 if a race on a CPU is, where other products are slow: then only weights
    are rounded. There is one merged model in memory at a time; the base stays bitwise as it is.

    Args:
        race: its lanes have the adapters; a race that was restored from its folder will do.
        k: the lane's number, or its label.
        most: maximum number of examples, of the test if the race has finished and has one, else held out.

    Raises:
        ValueError: the lane does not exist or has diverged, or a copy of the model does not fit into memory.

    Examples:
        >>> import olora_viz as ov
        >>> race = ov.race(ov.RaceConfig(lanes=(ov.Lane("olora", lr=3e-3),), steps=8, eval_every=0))
        >>> steps = list(race)
        >>> cost = ov.merge_cost(race, "olora", most=16)
        >>> list(cost.merged), abs(cost.merged["float32"].loss - cost.beside.loss) < 1e-5
        (['float32', 'bfloat16', 'float16', 'nf4'], True)
    """
    check_whole("the number of examples", most, least=1)
    lanes = race.lanes
    k = lanes.number(k)
    if race.state.out[k]:
        raise ValueError(f"lane {lanes.labels[k]!r} diverged at step {race.state.diverged_at[k]}: it cannot be merged")
    weight, test = next(race.model.parameters()), race.status == FINISHED and bool(race.data.test)
    in_float32 = weight.device.type == "cpu" and weight.dtype == torch.float32
    check_memory(4 * sum(each.numel() for each in race.model.parameters()), weight.device, "a copy of the model")
    one, judged = slice(k, k + 1), race.data.judged(test)[:most]
    batches = race.data.batches(judged, race.data.judged_rows)

    def beside() -> Iterator[Tensor]:
        for batch in batches:
            with lanes.apart(one):
                (predictions,) = base_predictions(race.model, [batch])
            yield predictions

    def compare(progress: Progress) -> tuple[FormResults, FormResults, dict[str, FormResults]]:
        def results(done: int, model: PreTrainedModel, rows: slice | None = None) -> FormResults:
            def report(share: float) -> None:
                progress((done + share) / (2 + len(FORMS)), "comparing the merged model")

            data = race.data.of_model(model, most)
            with lanes.apart(rows):
                evaluation = data.evaluate(test=test, report=report)
                drift = forgotten(model, batches, beside(), 1, lambda _: report(1.0)).drift
            return FormResults(float(evaluation.loss[0]), float(evaluation.accuracy[0]), float(drift[0]))

        base, own = results(0, race.model), results(1, race.model, one)
        return base, own, {form: results(i, _merged(lanes, k, form, in_float32)) for i, form in enumerate(FORMS, 2)}

    with closing(EvalMode(race.model)):
        base, own, merged = on_a_core(lanes.plan, compare, race.afterwards)
    computed_in = "float32" if in_float32 else "its own dtype"
    return MergeCost(lanes.labels[k], "test" if test else "held-out", len(judged), computed_in, base, own, merged)


def _merged(lanes: Lanes, k: int, form: str, in_float32: bool) -> PreTrainedModel:
    merged: Any = lanes.merge(k, FORMS[form])
    with torch.no_grad():
        for layer in filter(is_linear, adaptable_layers(merged).values() if form == FOUR_BITS else ()):
            weight_of(layer).copy_(nf4(weight_of(layer)))
    return merged.float() if in_float32 else merged
