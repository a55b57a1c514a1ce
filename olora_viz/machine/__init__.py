"""Files, devices, memory, signals and numbers: helpers that know nothing about LoRA."""
