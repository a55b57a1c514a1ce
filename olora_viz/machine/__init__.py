"""What the computer is: files, devices, memory, signals, numbers; no word of ours in it."""
