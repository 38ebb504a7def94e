"""What is read of the machine: memory, energy, CPUs, its state."""
