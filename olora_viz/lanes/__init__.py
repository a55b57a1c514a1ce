"""K adapters on one frozen model, and PEFT's format of them."""
