"""The workstation's converters: Keras models to other formats, gated and certified."""
