"""The app: a page on this machine that answers for pairs, clips and the camera."""
