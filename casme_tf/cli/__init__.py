"""The command `casme-tf`: options in, one call, results printed."""
