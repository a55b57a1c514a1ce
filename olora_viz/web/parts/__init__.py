"""What pages share: cards, the set-up, background work, downloads."""
