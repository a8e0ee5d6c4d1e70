"""A run's model as SavedModel and LiteRT, checked against Keras; loading any of them."""
