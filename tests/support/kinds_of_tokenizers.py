"""Tokenizers of all kinds: how they treat spaces, offsets and special tokens differs."""

from support.tiny import tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from olora_viz.models import load_model


def trimmed_tokenizer():
    """As GPT-2's: the space at a token's front is not in its offsets."""
    tokenizer = tiny_tokenizer(eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def bos_and_eos_tokenizer():
    """As one that puts a token before every text by itself, and one behind it."""
    tokenizer = tiny_tokenizer(bos_token="<s>", eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def metaspace_tokenizer():
    """As those of SentencePiece: a mark stands for the space, one is put before the text."""
    words = ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁a", "▁b", "he"]
    core = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("▁", "a"), ("▁", "b"), ("h", "e")]))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="z")


TOKENIZERS = {
    "glassllm": load_model("glassllm")[1],
    "bytes": tiny_tokenizer(eos_token="</s>"),
    "trimmed": trimmed_tokenizer(),
    "bos-and-eos": bos_and_eos_tokenizer(),
    "metaspace": metaspace_tokenizer(),
}
