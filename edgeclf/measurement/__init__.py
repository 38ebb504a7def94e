"""How to measure: processes, memory phases, percentiles, statistics, environment."""
