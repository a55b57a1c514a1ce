"""Models from the Hugging Face hub, cached or downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.machine.files import check_free_disk, reason
from olora_viz.machine.process import Progress, within
from olora_viz.models.catalogue import MODELS, ModelCard
from olora_viz.models.folder import check_folder

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

PATIENCE = 5.0
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


def _ask(card: ModelCard) -> tuple[ModelInfo, str]:
    """Return the files of a repository, and the revision that has the safetensors."""
    from huggingface_hub import HfApi, get_repo_discussions

    info = HfApi().model_info(card.hub_id, timeout=PATIENCE, files_metadata=True)
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
            return HfApi().model_info(card.hub_id, revision=revision, timeout=PATIENCE, files_metadata=True), revision
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
    try:
        info, revision = within(2 * PATIENCE, lambda: _ask(card))
    except Exception as error:  # network libraries have many exception hierarchies
        raise ValueError(_sentence(card, error)) from error
    size = _weights(info)
    if not size:
        raise ValueError(
            f"{card.name!r} ({card.hub_id}) has no safetensors on the hub, only pickles, "
            "which can run code when opened and are never loaded"
        )
    check_free_disk(Path(constants.HF_HUB_CACHE), size, repr(card.name))
    if progress is not None:  # the hub shows its own bars on standard error
        progress(0.0, f"fetching {card.hub_id} ({size / 1e6:,.0f} MB)")
    try:
        folder = snapshot_download(
            card.hub_id, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
        )
    except Exception as error:
        raise ValueError(_sentence(card, error)) from error
    return Path(folder)
