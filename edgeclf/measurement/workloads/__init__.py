"""What a measured process does again and again: calls in windows, streams, back to back."""
