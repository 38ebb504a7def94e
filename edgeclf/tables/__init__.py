"""Pictures by the million to a table of answers: in one process, or on a cluster of Ray's."""
