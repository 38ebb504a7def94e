"""Time per operator, held against the CPU's peak."""
