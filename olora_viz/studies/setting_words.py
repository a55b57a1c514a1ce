"""The settings in which the fields of a race differ, in words."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact
from olora_viz.studies.comparison import Field, differences
from olora_viz.studies.words import and_


def at_setting(field: Field, lanes: Sequence[Lane]) -> str:
    """Return in what a field differs from the others, in words."""
    return f"with {and_(setting_of(field, lanes))}"


def setting_of(field: Field, lanes: Sequence[Lane]) -> list[str]:
    """Return the settings in which a field differs from the others, each in words."""
    setting, clip = field.setting, field.setting.clip
    words = {
        "rank": f"rank {setting.r}",
        "scaling": f"scaling {compact(setting.scale)}",
        "weight decay": f"weight decay {compact(setting.weight_decay)}",
        "clipping": "no clipping" if clip is None else f"clipping at {compact(clip)}",
        "betas": "betas {:g} and {:g}".format(*setting.betas),
        "LoRA+ ratio": f"LoRA+ ratio {compact(setting.lora_plus)}",
        "dropout": f"dropout {setting.dropout:g}",
        "targets": f"targets {', '.join(setting.targets)}"
        if setting.targets
        else "no targets of their own",
        "seed": f"seed{'s' * (len(field.seeds) > 1)} {and_([str(s) for s in field.seeds])}",
    }
    apart = [name for name in differences(lanes) if name in words]
    if {lane.seed for lane in lanes} == set(field.seeds) and "seed" in apart:
        apart.remove("seed")
    return [words[name] for name in apart]
