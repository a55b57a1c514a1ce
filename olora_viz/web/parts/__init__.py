"""What pages share: cards, presets, tabs, the set-up, downloads."""
