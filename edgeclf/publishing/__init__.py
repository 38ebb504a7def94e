"""The way to a device and back: a TUF repository, what is ordered in it, and reports."""
