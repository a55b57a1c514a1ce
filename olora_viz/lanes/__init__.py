"""K adapters on one frozen model, and import and export in PEFT's format."""
