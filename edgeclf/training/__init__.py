"""Training, distillation and the search of settings, on Keras over TensorFlow."""
