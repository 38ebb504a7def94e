"""Networks by name: how they are built, where their weights come from, what they cost."""
