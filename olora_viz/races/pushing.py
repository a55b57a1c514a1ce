"""An adapter on its way to the Hugging Face hub: its files, its README, and the upload."""

from __future__ import annotations

import json
from pathlib import Path

from olora_viz.machine.checks import unknown
from olora_viz.machine.files import read_json_object, reason
from olora_viz.models import MODELS
from olora_viz.races.model_card import bare_card, model_card
from olora_viz.races.run import read_config, read_summary

CONFIG, WEIGHTS, README = "adapter_config.json", "adapter_model.safetensors", "README.md"
"""The files of an adapter on the hub; no other file of its folder is sent."""

NO_TOKEN = "there is no Hugging Face token on this machine: log in with `hf auth login`, or set HF_TOKEN"
OFFLINE = "nothing can be pushed while HF_HUB_OFFLINE is set"


def files_to_push(folder: Path, lane: str | None = None) -> dict[str, bytes]:
    """Return the files of an adapter as they are pushed, by name.

    The name of the base model is the hub's, and names no folder of this machine. An adapter without a README gets one
    that says what is known.

    Raises:
        ValueError: the folder holds no adapter, or several and no lane is named.
    """
    adapter = _adapter(folder, lane)
    config = read_json_object(adapter / CONFIG)
    base = config.get("base_model_name_or_path") or ""
    if base in MODELS:
        base = MODELS[base].hub_id or base
    elif base and Path(base).expanduser().exists():
        base = Path(base).name
    config["base_model_name_or_path"] = base or None
    return {
        README: _readme(folder, adapter, config).encode(),
        CONFIG: (json.dumps(config, indent=1) + "\n").encode(),
        WEIGHTS: (adapter / WEIGHTS).read_bytes(),
    }


def push(files: dict[str, bytes], repo: str, *, private: bool = False) -> str:
    """Push files into a model repository of the hub, which is made if it is new.

    Returns:
        The address of the repository.

    Raises:
        ValueError: the name is not one, there is no token, HF_HUB_OFFLINE is set, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token

    check_repo(repo)
    if constants.HF_HUB_OFFLINE:
        raise ValueError(OFFLINE)
    if get_token() is None:
        raise ValueError(NO_TOKEN)
    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.create_commit(
            address.repo_id,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="An adapter of a race of olora_viz",
        )
    except Exception as error:
        raise ValueError(f"{repo!r} could not be pushed to the hub: {reason(error)}") from error
    return str(address)


def check_repo(repo: str) -> None:
    """Check that a name is ``owner/name``."""
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except ValueError:
        repo = f"{repo}/"  # which is refused below
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise ValueError(f"--repo must be owner/name, as on the hub, not {repo.rstrip('/')!r}")


def _adapter(folder: Path, lane: str | None) -> Path:
    """Return the folder of the adapter that is meant."""
    if (folder / CONFIG).is_file():
        if lane is not None:
            raise ValueError(f"{str(folder)!r} is one adapter: --lane is for run folders")
        return folder
    labels = sorted(path.parent.name for path in (folder / "adapters").glob(f"*/{CONFIG}"))
    if not labels:
        raise ValueError(
            f"{str(folder)!r} holds no adapter: give the folder of a run that has ended, or of an "
            "exported adapter in PEFT's format"
        )
    if lane is None and len(labels) > 1:
        raise ValueError(f"the run has {len(labels)} adapters: choose one with --lane, such as {labels[0]!r}")
    if lane is not None and lane not in labels:
        raise ValueError(unknown("lane", lane, labels))
    return folder / "adapters" / (lane or labels[0])


def _readme(folder: Path, adapter: Path, config: dict[str, object]) -> str:
    """Return the README: of a run by its results, else the folder's own or a bare one."""
    summary = read_summary(folder) if adapter != folder else None
    if summary is not None:
        race = read_config(folder)
        if adapter.name in race.labels:
            return model_card(race, race.labels.index(adapter.name), summary, adapter)
    own = adapter / README
    return own.read_text("utf-8") if own.is_file() else bare_card(config)
