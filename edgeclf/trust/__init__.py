"""What proves that a file still is the model that was tested."""
