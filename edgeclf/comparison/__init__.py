"""Students beside their teacher, measured and answered in turns."""
