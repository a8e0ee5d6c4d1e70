"""Reports and comparisons of runs, as files to read."""
