"""Repeats a race with olora_viz.

On the same machine with the same number of threads (OMP_NUM_THREADS; for a small model any number), the losses are
bitwise identical; elsewhere they agree up to rounding.
"""

import olora_viz as ov

# Settings
CONFIG = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=3)
# End of settings


def main() -> None:
    """Race, and print every lane's losses."""
    race = ov.race(CONFIG)
    for step in race:
        losses = zip(CONFIG.labels, step.loss, strict=True)
        print(step.step, *(f"{label} {loss:.6f}" for label, loss in losses))
        if step.eval_loss is not None:
            held_out = zip(CONFIG.labels, step.eval_loss.round(4).tolist(), strict=True)
            print("  held out", dict(held_out))
    # To keep a lane as a PEFT adapter: ov.write_peft(race.lanes, 0, "my-adapter")


if __name__ == "__main__":
    main()
