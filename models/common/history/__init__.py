"""What is recorded of the states, what Home Assistant has recorded, and its reading."""
