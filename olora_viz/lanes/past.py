"""What earlier races merged into the base of each lane: its past, as frozen factors beside W."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers import Start
from olora_viz.machine.files import read_tensors, write_tensors

LINKS = "links"
"""Among the tensors of a past's file: how many races it holds."""


@dataclass(frozen=True, eq=False)
class Past:
    """The updates that were merged into the base of each of K lanes: lane k reads W + B_k A_k.

    The base W stays one for all lanes. A race adds at most 2r to the rank ρ of a lane's past.

    Args:
        links: how many races were merged, 1 or more. The random starts of the next race depend on it.
        layers: by layer, each lane's A (ρ, in) and B (out, ρ) with the scaling in B. Of a lane of full fine-tuning A
            is the sum of its updates (out, in) and B the identity; of one that leaves the layer out, ρ is 0.
    """

    links: int
    layers: Mapping[str, Sequence[Start]]

    @property
    def bytes(self) -> int:
        """Memory of the factors."""
        return sum(t.nbytes for starts in self.layers.values() for start in starts for t in (start.A, start.B))

    def update(self, layer: str, k: int) -> Float[Tensor, "out in"]:
        """Return the sum of the updates that were merged into one layer of lane k."""
        start = self.layers[layer][k]
        return start.B @ start.A

    def of(self, lanes: Sequence[int]) -> Past:
        """Return the past of some of the lanes, by their numbers; layers that none of them adapts are left out."""
        chosen = {name: [starts[k] for k in lanes] for name, starts in self.layers.items()}
        return Past(self.links, {name: starts for name, starts in chosen.items() if any(len(s.A) for s in starts)})

    def stacked(self, layer: str, dense: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return A (K, ρ, in) and B (K, out, ρ) of a layer, padded with zeros to the largest rank.

        Args:
            dense: the lanes of full fine-tuning, which hold their past in theta: zeros here.
        """
        starts = self.layers[layer]
        A, B = starts[0].A, starts[0].B
        rank = max((len(start.A) for k, start in enumerate(starts) if k not in dense), default=0)
        down, up = A.new_zeros(len(starts), rank, A.shape[1]), B.new_zeros(len(starts), B.shape[0], rank)
        for k, start in enumerate(starts):
            if k not in dense:
                down[k, : len(start.A)], up[k, :, : len(start.A)] = start.A, start.B
        return down, up

    def write(self, file: Path) -> None:
        """Write it as safetensors."""
        tensors = {LINKS: torch.tensor(self.links)}
        for name, starts in self.layers.items():
            for k, start in enumerate(starts):
                tensors |= {f"{k}.{name}.A": start.A.cpu(), f"{k}.{name}.B": start.B.cpu()}
        write_tensors(file, {name: tensor.contiguous() for name, tensor in tensors.items()})

    @classmethod
    def read(cls, file: Path, device: torch.device) -> Past:
        """Read back what `write` wrote, onto a device."""
        tensors = {name: tensor.to(device) for name, tensor in read_tensors(file).items()}
        links, layers = int(tensors.pop(LINKS)), {}
        for name in sorted(tensors, key=lambda name: int(name.split(".", 1)[0])):
            _, rest = name.split(".", 1)
            if rest.endswith(".A"):
                layers.setdefault(rest[:-2], []).append(Start(A=tensors[name], B=tensors[f"{name[:-1]}B"]))
        return cls(links, layers)
