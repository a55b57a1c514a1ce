"""olora_viz: the playground for low-rank adaptation."""
