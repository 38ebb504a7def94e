"""One measurement in a fresh process: what runs there, and how it is sampled."""
