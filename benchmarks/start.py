"""How long an adapter's start on a model's folder takes, and how much memory: layer by layer, and by PEFT in memory.

    python benchmarks/start.py [--gigabytes 8] [--inits lora olora …] [--peft olora …] [--rank 32] [--folder DIR]
                               [--json]

The folder is made first: a Llama of random weights in bfloat16, with the shapes of a model of 7 billion weights and as
many blocks as fit into the size, in shards of 2 GB. It is deleted at the end, with all that was written. Each start is
a process of its own; its memory is the largest resident set that Linux has counted for it (`VmHWM`). PEFT's start
loads the model, as `transformers` does, and writes adapter and residual model by `save_pretrained`.

"read" is the size of the model's files over the time of the whole command, Python's start included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from olora_viz.initializers import INITIALIZERS
from olora_viz.models.folder import skeleton

WIDE = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32000}
NARROW = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "vocab_size": 256}
SHARD = 2 * 10**9

BY_US = "from olora_viz.__main__ import main; assert main() == 0"
BY_PEFT = """
import sys, torch, peft, transformers
model, out, residual, init, rank = sys.argv[1:]
base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
config = peft.LoraConfig(r=int(rank), lora_alpha=int(rank), target_modules="all-linear", init_lora_weights=init)
adapted = peft.get_peft_model(base, config)
adapted.save_pretrained(out)
adapted.unload().save_pretrained(residual)
"""


def make(folder: Path, gigabytes: float) -> int:
    """Write a model of random weights, shard by shard; return its size in bytes."""
    sizes = NARROW if gigabytes < 1 else WIDE
    width, hidden = sizes["hidden_size"], sizes["intermediate_size"]
    block, ends = (4 * width + 3 * hidden + 2) * width, (2 * sizes["vocab_size"] + 1) * width
    blocks = max(1, int((gigabytes * 1e9 / 2 - ends) / block))
    config = LlamaConfig(**sizes, num_hidden_layers=blocks, architectures=["LlamaForCausalLM"])
    config.save_pretrained(folder)
    shapes = {name: tuple(weight.shape) for name, weight in skeleton(folder).named_parameters()}
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in shapes.items():
        if 2 * sum(torch.Size(each).numel() for each in shards[-1].values()) > SHARD:
            shards.append({})
        shards[-1][name] = shape
    places, generator = {}, torch.Generator().manual_seed(0)
    for number, held in enumerate(shards, 1):
        file = folder / f"model-{number:05}-of-{len(shards):05}.safetensors"
        random = {name: torch.randn(shape, generator=generator).mul_(0.02).bfloat16() for name, shape in held.items()}
        save_file(random, file)
        places |= dict.fromkeys(held, file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def measured(program: str, *arguments: str) -> tuple[float, float, float]:
    """Run a program; return its seconds, those of the processor, and the most gigabytes in memory."""
    began = time.perf_counter()
    # Of the process itself: what the system counts of a child can begin with its parent's memory.
    command = [sys.executable, "-c", f"{program}\nprint(*open('/proc/self/status'))", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        for file in (out, errors):
            file.seek(0)
        if process.returncode:
            raise SystemExit(errors.read().decode(errors="replace")[-2000:])
        kilobytes = int(re.findall(rb"VmHWM:\s*(\d+)", out.read())[-1])
    return seconds, usage.ru_utime + usage.ru_stime, kilobytes * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--inits", nargs="+", default=["lora", "olora", "sketch"])
    parser.add_argument("--peft", nargs="*", default=["olora"], help="starts of PEFT's, in memory")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="where the files lie; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        model = Path(home) / "model"
        size = make(model, options.gigabytes)
        if not options.json:
            print(f"{size / 1e9:.2f} GB in {len(list(model.glob('*.safetensors')))} files, rank {options.rank}\n")
            print(f"{'start':<16}{'by':<8}{'seconds':>9}{'of the processor':>18}{'memory':>10}{'read':>12}")
        for by, init in [*(("ours", init) for init in options.inits), *(("PEFT", init) for init in options.peft)]:
            out, residual = Path(home) / "out", Path(home) / "residual"
            if by == "PEFT":
                arguments = [str(model), str(out), str(residual), init, str(options.rank)]
            else:
                arguments = ["start", "--model", str(model), "--init", init, "--r", str(options.rank)]
                arguments += ["--out", str(out)]
                arguments += [] if INITIALIZERS[init].zero_product else ["--residual", str(residual)]
            seconds, processor, memory = measured(BY_PEFT if by == "PEFT" else BY_US, *arguments)
            row = {
                "init": init,
                "by": by,
                "rank": options.rank,
                "gigabytes": size / 1e9,
                "seconds": seconds,
                "processor_seconds": processor,
                "resident_gigabytes": memory,
                "gigabytes_per_second": size / 1e9 / seconds,
            }
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                print(
                    f"{init:<16}{by:<8}{seconds:>9.1f}{processor:>18.1f}{memory:>7.2f} GB"
                    f"{size / 1e9 / seconds:>7.2f} GB/s",
                    flush=True,
                )
            for folder in (out, residual):
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
