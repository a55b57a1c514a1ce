"""What makes two races of this server equal, the same steps bit for bit, and two studies: the same question."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from olora_viz.initializers.catalogue import BUILT_IN
from olora_viz.machine.memory import resolve_device, resolve_dtype
from olora_viz.machine.process import cores
from olora_viz.machine.version import versions
from olora_viz.models import MODELS
from olora_viz.models.loading import snapshot
from olora_viz.models.offline import LANGUAGES, converted
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.tasks.hub import SOURCES
from olora_viz.web.jobs.job import own_fields

PACKAGES = ("torch", "transformers", "numpy", "glassllm")
"""The packages whose versions may change bits."""


def race_key(config: RaceConfig) -> str:
    """Return what the races with the steps of this one have in common; "" if nobody else's race can have them.

    Nobody shares a visitor's own file, nor what is still to be downloaded, of which nobody knows the version.

    >>> from olora_viz.races.config import RaceConfig
    >>> race_key(RaceConfig(device="cpu")) == race_key(RaceConfig(device="cpu", dtype="float32"))
    True
    >>> race_key(RaceConfig(task="mine.jsonl"))
    ''
    """
    inputs = own_fields(config) or config.test or any(lane.init not in BUILT_IN for lane in config.lanes)
    model, task = version_of_model(config.model), version_of_task(config.task)
    if inputs or not model or not task:
        return ""
    device = config.device if config.device != "auto" else resolve_device().type
    dtype = str(resolve_dtype(config.dtype, device))
    values = config.to_json() | {"device": device, "dtype": dtype, "files": [model, task]} | machine(device)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def study_key(kind: str, config: RaceConfig, minutes: float) -> str:
    """Return what studies of a kind on one set-up in the same minutes have in common; "" if they share nothing.

    >>> study_key("decision", RaceConfig(task="mine.jsonl"), 2)
    ''
    """
    key = race_key(config)
    return key and f"{kind} {minutes:g} {key}"


def machine(device: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what else decides about the bits of a race here: versions, processor and threads."""
    card = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else ""
    processor = [platform.machine(), torch.backends.cpu.get_cpu_capability(), cores()]
    threads = environment.get("OMP_NUM_THREADS", "")
    return {"versions": versions(*PACKAGES), "processor": processor, "card": card, "threads": threads}


def version_of_model(name: str) -> str:
    """Return which files a named model is read from; "" if they are not on this machine, or it is none of ours."""
    if name in LANGUAGES:
        return name  # its package's version is among the others
    if name not in MODELS:
        return ""
    folder = converted() if name == "smollm2-135m" else None
    return (folder or snapshot(MODELS[name].hub_id) or Path()).name


def version_of_task(name: str) -> str:
    """Return which examples a named task has; "" if they are not on this machine, or it is none of ours."""
    source = next((each for each in SOURCES if each.name == name), None)
    if source is None:
        return name if name in TASKS else ""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"datasets--{source.repository.replace('/', '--')}"
    try:
        return (home / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        return ""
