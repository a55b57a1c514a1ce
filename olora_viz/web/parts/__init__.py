"""What pages share: cards, presets, tabs, the set-up, background work, downloads."""
