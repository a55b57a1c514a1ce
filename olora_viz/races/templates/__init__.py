"""Scripts that repeat a race. They run as they are; a race's settings replace theirs."""
