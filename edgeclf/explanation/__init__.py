"""Where in a picture an answer came from, with numpy alone, and how far to believe the map."""
