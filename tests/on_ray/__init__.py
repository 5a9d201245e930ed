"""A package so that the Ray which its tests share ends with the last of them."""
