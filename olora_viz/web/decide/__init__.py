"""The page Decide: from a set-up to one recommendation within some minutes."""
