"""Settings of veRL runs, composed by hydra."""
