"""How the weights of this package and published figures were made."""
