"""A service that is put under load by itself, for people to see what it does then."""
