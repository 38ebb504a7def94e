"""One classifier over every runtime, and its answers."""
