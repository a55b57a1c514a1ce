"""One race: its set-up, data, state, steps and run folder."""
