"""From frames, videos and cameras to the face, its motion, onset and apex; no TensorFlow."""
