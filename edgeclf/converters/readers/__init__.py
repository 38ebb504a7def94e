"""Models from elsewhere: each kind of file, read and run by its own engine.

Each reader takes a path and what the user said of the model, and raises `ArtifactError` for what
it cannot read and `ConversionError` for code that is not trusted or for what is no image
classifier.
"""
