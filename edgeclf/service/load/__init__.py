"""The load test: requests at a rate that does not wait for the server, and what came of them."""
