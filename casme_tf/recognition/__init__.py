"""Answers for frames, clips, streams and the browser."""
