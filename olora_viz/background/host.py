"""What a long computation asks of whoever has it computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olora_viz.background.work import BackgroundWork


class Host:
    """Whoever has work computed: by itself a thread of this process, that waits for nobody and hides nothing."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process computes it."""
        return False

    def compute(self, work: BackgroundWork) -> bool | None:
        """Compute work until its end or a pause, see `BackgroundWork.run`."""
        return work.run()

    def yields(self) -> bool:
        """Whether to make way for others, who then compute first."""
        return False

    def before_news(self) -> None:
        """Note a change before anybody else hears of it."""

    def without_paths(self, sentence: str) -> str:
        """Remove private information from a sentence."""
        return sentence

    def clear_disk(self, needed: int) -> None:
        """Make room for so many bytes, which work needs and the disk lacks."""

    def take_over(self, work: Any) -> None:
        """Go on with work that followed an equal one, which does not go on."""
