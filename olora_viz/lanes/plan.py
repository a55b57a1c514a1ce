"""Which layers get which adapters: ranks, the layout of theta, and the starts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from olora_viz.initializers import READS, Calibration, Initializer, Start, check_rank, entry_of, lacking, precise
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import BASE, Lane, Targets, check_count
from olora_viz.lanes.layers import (
    Coverage,
    adaptable_layers,
    check_finite,
    coverage_of,
    outline_of,
    target_layers,
    weight_of,
)
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.lanes.past import Past
from olora_viz.lanes.ranks import RANKED_BY, RankedLayer, ranks_within, scores_of
from olora_viz.machine.devices import kind_of
from olora_viz.machine.four_bit import FourBitLayer, nf4
from olora_viz.machine.memory import of_several_lanes
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import listed

Factors = tuple[Tensor, Tensor]
"""A (K, rows, in) and B (K, out, r) of one layer, views of theta; rows is r, or with a dense lane out if that is more.
"""

Fixed = Mapping[str, Mapping[int, Float[Tensor, "out in"]]]
"""By layer and lane, what a lane's own base has more than the shared one, see `Lane.start_from`."""


class Layout:
    """The columns of theta (K, P): the flattened A, then B, of one layer after the other; then m of every layer.

    Only a race with a lane with DoRA has m; that of other lanes is padding.

    Args:
        shapes: (out, in) of each layer, in the model's order.
        ranks: the rank of every lane in each layer, 0 for a lane without an adapter there. A layer has room for the
            largest rank; smaller ones are padded with zeros.
        dense: the lanes whose B is the identity, for which there is no room; their A is (out, in).
        dora: the lanes with DoRA.

    Attributes:
        layers: the names of the layers.
        sizes: (2L) numbers of columns of each A and B.
        sizes_of_m: (L) those of each m; () without DoRA.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        ranks: Mapping[str, Sequence[int]],
        dense: Collection[int] = (),
        dora: Collection[int] = (),
    ) -> None:
        self.layers = tuple(shapes)
        self.ranks, self.dora = dict(ranks), dora
        self._ranks_of_B = {
            layer: [0 if k in dense else rank for k, rank in enumerate(of_lanes)] for layer, of_lanes in ranks.items()
        }
        self._shapes = {
            layer: ((max(ranks[layer]), into), (out, max(self._ranks_of_B[layer])))
            for layer, (out, into) in shapes.items()
        }
        self.sizes = tuple(rows * columns for shapes in self._shapes.values() for rows, columns in shapes)
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        self._starts = dict(zip(self.layers, [0, *ends[1::2]], strict=False))
        self.sizes_of_m = tuple(out for out, _ in shapes.values()) if dora else ()
        self.width = ends[-1] + sum(self.sizes_of_m)

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B as theta holds them, each with its largest rank."""
        if layer not in self._shapes:
            raise ValueError(f"no adapter on layer {layer!r}; choose from {listed(self.layers)}")
        return self._shapes[layer]

    def columns(self, layer: str) -> tuple[slice, slice]:
        """Return the columns of a layer's A and of its B."""
        of_A, of_B = map(math.prod, self.shapes(layer))
        at = self._starts[layer]
        return slice(at, at + of_A), slice(at + of_A, at + of_A + of_B)

    def factors(self, theta: Tensor, layer: str) -> Factors:
        """View one layer's A and B in a matrix like theta, of as many rows."""
        shapes = self.shapes(layer)
        of_A, of_B = self.columns(layer)
        return theta[:, of_A].unflatten(1, shapes[0]), theta[:, of_B].unflatten(1, shapes[1])

    def split(self, theta: Tensor) -> tuple[dict[str, Factors], dict[str, Tensor]]:
        """View every A and B, and every m (K, out), in one node of the graph for any number of layers."""
        parts = iter(theta.split([*self.sizes, *self.sizes_of_m], dim=1))
        factors = {
            layer: (next(parts).unflatten(1, of_A), next(parts).unflatten(1, of_B))
            for layer, (of_A, of_B) in self._shapes.items()
        }
        return factors, dict(zip(self.layers, parts, strict=False))

    def magnitudes(self, theta: Tensor, layer: str) -> Tensor:
        """View one layer's m in a matrix like theta, (K, out)."""
        return self.split(theta)[1][layer]

    def real(self, rows: slice, layer: str | None = None) -> Bool[Tensor, "k n"]:
        """Return the mask of some lanes' entries that are not padding, in one layer or all."""
        masks = []
        for name in [layer] if layer else self.layers:
            (rows_of_A, into), (out, rank) = self.shapes(name)
            of_A = torch.arange(rows_of_A) < torch.tensor(self.ranks[name][rows])[:, None]
            of_B = torch.arange(rank) < torch.tensor(self._ranks_of_B[name][rows])[:, None]
            masks.append(of_A[:, :, None].expand(-1, -1, into).flatten(1))
            masks.append(of_B[:, None, :].expand(-1, out, -1).flatten(1))
        for name, out in zip(() if layer else self.layers, self.sizes_of_m, strict=False):
            its = [k in self.dora and rank > 0 for k, rank in enumerate(self.ranks[name])]
            masks.append(torch.tensor(its)[rows, None].expand(-1, out))
        return torch.cat(masks, dim=1)


@dataclass(frozen=True, eq=False)
class AdapterPlan:
    """K lanes on some layers of a model; made by `plan_adapters`, which changes no weight."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    """The layers that get adapters of any lane, by name and in the model's order."""
    lanes: tuple[Lane, ...]
    chosen: Mapping[Targets, Collection[str]]
    """The names of the layers that a lane may adapt, by its targets."""
    ranked: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """The ranks by layer of lanes with `Lane.rank_by`, from `with_ranks` on; until then each layer has the rank."""

    @cached_property
    def starts(self) -> tuple[Initializer, ...]:
        """The initialization of each lane, unaffected by later changes of the registry."""
        return tuple(entry_of(lane.init) for lane in self.lanes)

    @cached_property
    def ranks(self) -> dict[str, tuple[int, ...]]:
        """The rank of every lane in each layer, 0 for a lane that leaves it out.

        That of a dense lane is out, since its B is the identity.
        """
        return {
            name: tuple(
                (shape[0] if start.dense else self.ranked.get(k, {}).get(name, lane.r))
                if name in self.chosen[lane.targets]
                else 0
                for k, (lane, start) in enumerate(zip(self.lanes, self.starts, strict=True))
            )
            for name, shape in self.shapes.items()
        }

    @property
    def ranks_by_layer(self) -> dict[str, tuple[int, ...]]:
        """The same as `ranks`, if a lane has `Lane.rank_by`; else nothing."""
        return self.ranks if self.ranked else {}

    @cached_property
    def dense(self) -> tuple[int, ...]:
        """The lanes that train the whole ΔW, see `Initializer.dense`."""
        return tuple(k for k, start in enumerate(self.starts) if start.dense)

    @property
    def dora(self) -> tuple[int, ...]:
        """The lanes with DoRA."""
        return tuple(k for k, lane in enumerate(self.lanes) if lane.dora)

    @cached_property
    def pass_bytes(self) -> int:
        """Maximum memory of a pass of several lanes."""
        return of_several_lanes(kind_of(self.device).lanes, self.device)

    @cached_property
    def layout(self) -> Layout:
        """Where theta holds the parameters of every lane."""
        return Layout(self.shapes, self.ranks, self.dense, self.dora)

    def layers_of(self, k: int) -> tuple[str, ...]:
        """Return the names of the layers that lane k adapts."""
        return tuple(name for name, ranks in self.ranks.items() if ranks[k])

    @property
    def left_out(self) -> Bool[np.ndarray, "K L"]:
        """Whether lane k leaves out layer l."""
        return np.array([*self.ranks.values()]).T == 0

    @property
    def parameters(self) -> tuple[int, ...]:
        """(K) how many numbers each lane trains."""
        return tuple(lane.dim or count for lane, count in zip(self.lanes, self.entries, strict=True))

    @property
    def entries(self) -> tuple[int, ...]:
        """(K) number of entries of each lane's A and B that are not frozen, and of DoRA's m."""
        return tuple(
            sum(
                self.ranks[name][k] * _trained(lane, *shape) + lane.dora * shape[0]
                for name, shape in self.shapes.items()
                if self.ranks[name][k]
            )
            for k, lane in enumerate(self.lanes)
        )

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each layer's weight."""
        outlines = {name: outline_of(layer) for name, layer in self.layers.items()}
        return {name: (W.shape[0], W.shape[1]) for name, W in outlines.items()}

    @property
    def weights(self) -> dict[str, Tensor]:
        """Each layer's weight as (out, in), a view."""
        return {name: weight_of(layer) for name, layer in self.layers.items()}

    def weight(self, layer: str) -> Float[Tensor, "out in"]:
        """Return one layer's weight as (out, in), a view."""
        return weight_of(self.layers[layer])

    @cached_property
    def coverage(self) -> Coverage:
        """The weights of the model in these layers, and those that every lane leaves out."""
        return coverage_of(self.model, self.layers)

    @cached_property
    def coverages(self) -> dict[Targets, Coverage]:
        """The same for the lanes with certain targets."""
        return {
            targets: coverage_of(self.model, {n: m for n, m in self.layers.items() if n in self.chosen[targets]})
            for targets in dict.fromkeys(lane.targets for lane in self.lanes)
        }

    @property
    def rank(self) -> int:
        """The largest rank of any lane that is not dense, in any layer; 0 if all are."""
        return max((of[k] for of in self.ranks.values() for k in range(len(of)) if k not in self.dense), default=0)

    @property
    def needs(self) -> frozenset[str]:
        """The statistics that starts and ranks need, of ``gradient``, ``inputs`` and ``outputs``."""
        return frozenset(statistic for of_lane in self._needed for need in of_lane for statistic in READS[need])

    @property
    def calibrated(self) -> dict[str, nn.Module]:
        """The layers of the lanes whose starts or ranks need it, like `layers`."""
        names = {name for k, needs in enumerate(self._needed) if needs for name in self.layers_of(k)}
        return {name: layer for name, layer in self.layers.items() if name in names}

    @property
    def _needed(self) -> list[dict[str, str]]:
        """The calibration data that each lane needs, with what needs it."""
        both = (
            {start.needs: start.name, RANKED_BY.get(lane.rank_by or "", ""): f"rank_by={lane.rank_by}"}
            for lane, start in zip(self.lanes, self.starts, strict=True)
        )
        return [{need: name for need, name in of_lane.items() if need} for of_lane in both]

    @property
    def frozen_B(self) -> list[int]:
        """The lanes whose B is not trained."""
        return [k for k, start in enumerate(self.starts) if start.frozen_B]

    @property
    def unsubtracted(self) -> list[int]:
        """The lanes whose initialization changes the model's function at step 0."""
        return [k for k, start in enumerate(self.starts) if not start.keeps_function]

    @property
    def on_own_base(self) -> list[int]:
        """The lanes whose base is the rest of W in four bits, so that it is not the one of all lanes."""
        return [k for k, lane in enumerate(self.lanes) if lane.has_own_base]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of theta: float32, or float64 if the weights are."""
        return torch.promote_types(outline_of(next(iter(self.layers.values()))).dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        """The device of the weights and of theta."""
        layer = next(iter(self.layers.values()))
        return (layer.packed if isinstance(layer, FourBitLayer) else weight_of(layer)).device

    def with_lanes(self, lanes: Sequence[Lane]) -> AdapterPlan:
        """Return the layers of some other lanes, whose targets are among those of these lanes.

        A lane with `Lane.params` gets the rank with which it trains as many parameters as can be.

        Raises:
            ValueError: no lane or too many, a rank above min(out, in) of a layer, a number of parameters that no rank
                comes near, more directions than entries, dropout or DoRA on experts.
        """
        check_count(len(lanes))
        lanes = [lane if lane.params is None else self._ranked(lane) for lane in lanes]
        used = {name for lane in lanes for name in self.chosen[lane.targets]}
        layers = {name: layer for name, layer in self.layers.items() if name in used}
        plan = replace(self, layers=layers, lanes=tuple(lanes), ranked={})
        for name, layer in plan.layers.items():
            W = outline_of(layer)
            for lane, start, rank in zip(plan.lanes, plan.starts, plan.ranks[name], strict=True):
                if not rank:
                    continue
                check_rank(W, 1 if start.dense else lane.r, name, start.vectors)
                if lane.dropout and isinstance(plan.layers[name], ExpertLinear):
                    raise ValueError(
                        f"dropout {lane.dropout:g} is not possible on experts, whose inputs the "
                        f"router chooses, such as {name!r}: set it to 0, or name other targets"
                    )
                if lane.rank_by and isinstance(plan.layers[name], ExpertLinear):
                    raise ValueError(
                        f"rank_by={lane.rank_by} is not possible on experts, which have one rank together, such as "
                        f"{name!r}: leave it out, or name other targets"
                    )
                if lane.dora and isinstance(plan.layers[name], ExpertLinear):
                    raise ValueError(
                        f"dora is not possible on experts, for which PEFT has none, such as {name!r}: leave it out, "
                        "or name other targets"
                    )
        for lane, count in zip(plan.lanes, plan.entries, strict=True):
            if lane.dim is not None and lane.dim > count:
                of_rank = "" if lane.is_dense else f" of rank {lane.r}"
                raise ValueError(
                    f"dim {lane.dim} exceeds the {count:,} entries of {lane.init}{of_rank} on these layers"
                )
        return plan

    def _ranked(self, lane: Lane) -> Lane:
        """Return a lane with the rank that its number of parameters comes nearest to."""
        shapes = [outline_of(self.layers[name]).shape for name in self.chosen[lane.targets]]
        each, of_m = sum(_trained(lane, *shape) for shape in shapes), lane.dora * sum(shape[0] for shape in shapes)
        assert isinstance(lane.params, int)
        rank, largest = round((lane.params - of_m) / each), min(map(min, shapes))
        if not 1 <= rank <= largest:
            end = min(max(1, rank), largest)
            raise ValueError(
                f"params {lane.params}: on these layers {lane.init} trains {end * each + of_m:,} with rank {end}, "
                f"its {'lowest' if rank < 1 else 'highest'}"
            )
        return lane.replace(r=rank, params=None)

    def check_calibration(self, calibration: Mapping[str, Calibration]) -> None:
        """Raise if an initialization lacks the calibration data that it needs.

        Raises:
            ValueError: a lane's start or ranks need calibration data that a layer does not have.
        """
        for k, needs in enumerate(self._needed):
            if not calibration.keys() >= set(self.layers_of(k)):
                for need, name in needs.items():
                    raise lacking(name, need)

    def with_ranks(self, calibration: Mapping[str, Calibration]) -> AdapterPlan:
        """Return the plan with the ranks by layer of lanes with `Lane.rank_by`, without layers of rank 0 alone."""
        scores: dict[tuple[str, str], list[float]] = {}
        ranked: dict[int, dict[str, int]] = {}
        for k, (lane, start) in enumerate(zip(self.lanes, self.starts, strict=True)):
            if (by := lane.rank_by) is None:
                continue
            for name in self.layers_of(k):
                if (by, name) not in scores:
                    scores[by, name] = scores_of(self.weight(name), by, calibration.get(name))
            ranks = ranks_within(
                [
                    RankedLayer(scores[by, name], _trained(lane, *shape), min(shape) // start.vectors)
                    for name, shape in self.shapes.items()
                    if self.ranks[name][k]
                ],
                lane.r,
            )
            ranked[k] = dict(zip(self.layers_of(k), ranks, strict=True))
        plan = replace(self, ranked=ranked)
        return replace(plan, layers={name: layer for name, layer in self.layers.items() if any(plan.ranks[name])})


def plan_adapters(
    model: nn.Module, lanes: Sequence[Lane], targets: Sequence[str] | None = None, bypassed: Collection[str] = ()
) -> AdapterPlan:
    """Resolve which lanes adapt which layers, and check that all lanes can start there.

    Args:
        targets: of `attach`, for the lanes without their own targets.
        bypassed: layers that get no adapters, see `target_layers`.

    Raises:
        ValueError: no lane or too many, a target that matches nothing, a rank above min(out, in) of a layer, a weight
            that is not finite.
    """
    chosen = {
        own: target_layers(model, targets if own is None else own, bypassed)
        for own in dict.fromkeys(lane.targets for lane in lanes)
    }
    plan = AdapterPlan(model, adaptable_layers(model, bypassed), (), chosen).with_lanes(lanes)
    check_finite(plan.layers)
    return plan


StartOf = Callable[[str, Tensor, Lane], Start]
"""Makes the start of a lane on a layer, from the layer's name and weight."""

StartCache = Callable[[Hashable, Callable[[], Start]], Start]
"""Returns the start under a key, after making it the first time."""


def start_of(name: str, W: Tensor, lane: Lane, calibration: Calibration | None = None, links: int = 0) -> Start:
    """Return a lane's A⁰ and B⁰ for one layer, from the layer's own random generator.

    Args:
        links: how many races were merged into W before: a random start is drawn anew after each.
    """
    # torch's CPU generator uses only the low 32 bits of a seed.
    drawn = f"{lane.seed} {name}" + (f" {links}" if links else "")
    generator = torch.Generator().manual_seed(zlib.crc32(drawn.encode()))
    device, start = W.device, entry_of(lane.init).start
    if not kind_of(device).has_float64:
        W, calibration = W.cpu(), calibration and calibration.on_cpu()
    more = {"iterations": lane.iterations} if entry_of(lane.init).iterates else {}
    made = start(W, lane.r, s=lane.scale, generator=generator, calibration=calibration, **more)
    return Start(made.A.to(device), made.B.to(device), None if made.base is None else made.base.to(device))


def on_own_base(W: Float[Tensor, "out in"], start: Start, s: float = 1.0) -> Float[Tensor, "out in"]:
    """Return Q + s BA of a start and a base of its own, Q: W − s BA in four bits, or what the start itself has made.

    References:
        Meng, Wang, Zhang 2024, arXiv 2404.02948 (QPiSSA).
    """
    BA = s * start.B @ start.A
    return (nf4(W - BA, double=True) if start.base is None else start.base) + BA


def start_from(
    calibration: Mapping[str, Calibration], cached: StartCache | None = None, past: Past | None = None
) -> StartOf:
    """Return `start_of` with each layer's own calibration, after a past.

    Args:
        cached: keeps the starts that depend on W alone, which those after a past do not.
    """
    links = 0 if past is None else past.links

    def start(name: str, W: Tensor, lane: Lane) -> Start:
        initializer = entry_of(lane.init)
        if cached is None or links or initializer.random or initializer.needs or lane.has_own_base:
            return start_of(name, W, lane, calibration.get(name), links)
        return cached(("start", name, *_kind(lane)), lambda: start_of(name, W, lane))

    return start


def _kind(lane: Lane) -> tuple[Hashable, ...]:
    """Return what a lane's start on a layer depends on."""
    seed = lane.seed if entry_of(lane.init).random else 0
    return lane.init, lane.r, lane.scale, seed, lane.start_from, lane.iterations


def start_matrix(
    plan: AdapterPlan,
    start_of: StartOf,
    progress: Progress | None = None,
    past: Past | None = None,
    full: Mapping[str, Tensor] | None = None,
) -> tuple[Float[Tensor, "K P"], Fixed]:
    """Return theta at step 0, in float32 or better, on the device of the weights, and what lanes' own bases have more.

    Args:
        past: what was merged into the lanes' bases. A dense lane holds its past's update from the start.
        full: the weights before they were rounded to four bits, for the lanes that start from them.
    """
    fixed: dict[str, dict[int, Tensor]] = {}
    theta = torch.zeros(len(plan.lanes), plan.layout.width, dtype=plan.dtype, device=plan.device)
    for i, name in enumerate(plan.layers):
        if progress:
            progress(i / len(plan.layers), "starting adapters")
        W = precise(plan.weight(name).detach())
        before = W if full is None else precise(full[name].to(W.device))
        starts: dict[Hashable, Start] = {}
        A, B = plan.layout.factors(theta, name)
        for k, lane in enumerate(plan.lanes):
            if not plan.ranks[name][k]:
                continue
            update = None if past is None else past.update(name, k)
            if k in plan.dense:
                if update is not None:
                    A[k, : len(update)] = update
                continue
            lane = lane.at_rank(plan.ranks[name][k])
            key = _kind(lane)
            if update is not None:
                fill(A[k], B[k], start_of(name, W + update, lane))
                continue
            if key not in starts:
                starts[key] = start_of(name, W if lane.start_from == BASE else before, lane)
            fill(A[k], B[k], start := starts[key])
            if lane.has_own_base:
                more = on_own_base(before, start, lane.scale) - W
                fixed.setdefault(name, {})[k] = more.to(outline_of(plan.layers[name]).dtype)
    return theta, fixed


def frozen_mask(plan: AdapterPlan, theta: Float[Tensor, "K P"]) -> Bool[Tensor, "K P"] | None:
    """Return the mask of the A and B that are not trained; None if there are none."""
    frozen_A = [k for k, lane in enumerate(plan.lanes) if OPTIMIZERS[lane.opt].freezes_A]
    if not plan.frozen_B and not frozen_A:
        return None
    mask = torch.zeros_like(theta, dtype=torch.bool)
    for A, B in plan.layout.split(mask)[0].values():
        A[frozen_A], B[plan.frozen_B] = True, True
    return mask if mask.any() else None


def _trained(lane: Lane, out: int, into: int) -> int:
    """Return the number of entries that a lane trains per rank of a layer."""
    return into * (not OPTIMIZERS[lane.opt].freezes_A) + out * (not entry_of(lane.init).frozen_B)


def fill(A: Tensor, B: Tensor, factors: Start) -> None:
    """Write factors of any rank into A (r, in) and B (out, r), padded with zeros."""
    rank = factors.A.shape[0]
    A[:rank], A[rank:] = factors.A, 0.0
    B[:, :rank], B[:, rank:] = factors.B, 0.0
