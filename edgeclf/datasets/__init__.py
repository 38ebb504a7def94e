"""Photos on disk: found, validated, listed and decoded once."""
