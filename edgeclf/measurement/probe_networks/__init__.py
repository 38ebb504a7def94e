"""Small networks with random weights, written on the device to be timed there."""
