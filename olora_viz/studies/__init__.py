"""Many contenders compared: rates, seeds, and what may be said of them."""
