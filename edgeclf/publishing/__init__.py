"""The way to a device: a TUF repository in a plain folder, and what is ordered in it."""
