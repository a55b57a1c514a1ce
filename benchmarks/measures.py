"""What looking costs: the time of a race's looks against the time of its steps.

    python benchmarks/measures.py [--model smollm2-135m] [--lanes 4] [--every 10] [--json]

One race on prompts of about 70 tokens. Steps and looks are timed apart, so that the share does not hang on the noise
between two races. A look at the spectra is what `spectra_every` makes of all lanes and layers. A look at the gradients
is what `gradients_every` adds to a step: the hooks, the norms of what reaches the layers' inputs (on random numbers of
the shapes that a backward pass brings), the norms of gradients, parameters and updates, and the copy of the
parameters. A look at the text to keep is what the loss and the drift on it cost. With `--default`, the race is the
default one of the command line, as long as it is, and the share is of its time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from race import write_task

from olora_viz.lanes.lane import Lane
from olora_viz.measures.forgetting import LEAST_STEPS_APART
from olora_viz.measures.gradients import GradientRecorder, lane_norms
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.tasks.keep import AUTO


def timed(call, times: int) -> float:
    """Return the seconds of one call, on average."""
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronize()
    return (time.perf_counter() - began) / times


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def input_gradients(running: Race) -> list[torch.Tensor]:
    """Make a step; return random numbers in the shapes of the gradients at its distinct inputs."""
    seen: dict[int, torch.Tensor] = {}

    def watch(_, given) -> None:
        if given[0].requires_grad:
            seen.setdefault(id(given[0]), given[0])

    layers = map(running.model.get_submodule, running.lanes.layers)
    hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
    next(running)
    for hook in hooks:
        hook.remove()
    shapes = [(X.shape, X.dtype, X.device) for X in seen.values()]
    seen.clear()
    return [torch.randn(shape, dtype=dtype, device=device) for shape, dtype, device in shapes]


def look_at_gradients(running: Race, times: int = 3) -> float:
    """Return the seconds that a look adds to a step."""
    lanes = running.lanes
    recorder = GradientRecorder(lanes)
    inputs = input_gradients(running)

    def style() -> None:
        with recorder.inputs(slice(0, lanes.count)):
            norms = [lane_norms(G, lanes.count) for G in inputs]
        assert norms
        recorder.before_update()
        recorder.after_update()

    style()
    return timed(style, times)


def look_at_text(running: Race, times: int = 3) -> float:
    """Return the seconds of a measurement of all lanes on the text to keep."""
    running._trainer.forgotten(running.go_on)
    return timed(lambda: running._trainer.forgotten(running.go_on), times)


def default_race() -> dict[str, float | int | str]:
    """Run the default race; return what the text to keep takes of it, timed within."""
    config = RaceConfig(keep=AUTO)
    began = time.perf_counter()
    running = race(config)
    look, times = running._trainer.forgotten, []

    def watched(progress):
        started = time.perf_counter()
        result = look(progress)
        synchronize()
        times.append(time.perf_counter() - started)
        return result

    running._trainer.forgotten = watched
    list(running)
    seconds = time.perf_counter() - began
    return {
        "model": config.model, "lanes": len(config.lanes), "steps": config.steps, "seconds": seconds,
        "threads": torch.get_num_threads(), "looks": len(times), "text_seconds": sum(times),
        "share": sum(times) / seconds,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--every", type=int, default=10, help="steps between looks at spectra")
    parser.add_argument("--gradients-every", type=int, default=1, help="steps between two looks")
    parser.add_argument("--shots", type=int, default=7, help="solved examples in a prompt, as far as they fit")
    parser.add_argument("--default", action="store_true", help="only the text to keep, in the default race")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.default:
        row = default_race()
        words = (
            f"the default race of {row['lanes']} lanes on {row['threads']} threads: {row['seconds']:.1f} s, of which "
            f"{row['looks']} looks at the text to keep {row['text_seconds']:.2f} s, {row['share']:.1%}"
        )
        print(json.dumps(row) if options.json else words)
        return
    inits = ("olora", "lora", "gaussian", "random_orthonormal")
    with tempfile.TemporaryDirectory() as folder:
        task, _ = write_task(Path(folder), options.model, options.shots)
        config = RaceConfig(
            keep=AUTO,
            model=options.model,
            task=str(task),
            lanes=tuple(Lane(inits[k % 4], lr=1e-4, r=options.rank, seed=k) for k in range(options.lanes)),
            steps=8,
            batch_size=4,
            eval_every=0,
            eval_size=1,
        )
        running = race(config)
        next(running)
        step = timed(lambda: next(running), 4)
        update_spectra(running.lanes)
        looked = timed(lambda: update_spectra(running.lanes), 3)
        style = look_at_gradients(running)
        read = look_at_text(running)
    row = {
        "model": options.model,
        "lanes": options.lanes,
        "layers": len(running.lanes.layers),
        "rank": options.rank,
        "threads": torch.get_num_threads(),
        "step_seconds": step,
        "spectra_seconds": looked,
        "every": options.every,
        "share": looked / (options.every * step + looked),
        "gradients_seconds": style,
        "gradients_every": options.gradients_every,
        "gradients_share": style / (options.gradients_every * step + style),
        "text_seconds": read,
        "text_every": LEAST_STEPS_APART,
        "text_share": read / (LEAST_STEPS_APART * step + read),
    }
    if options.json:
        print(json.dumps(row))
        return
    print(
        f"{options.model}, {options.lanes} lanes of rank {options.rank}, {row['layers']} layers: "
        f"a step {step:.2f} s; spectra {looked:.3f} s, every {options.every} steps "
        f"{row['share']:.1%} of the race; a look at the gradients {style:.3f} s, every "
        f"{options.gradients_every} steps {row['gradients_share']:.1%}; the text to keep {read:.3f} s, every "
        f"{LEAST_STEPS_APART} steps {row['text_share']:.1%}"
    )


if __name__ == "__main__":
    main()
