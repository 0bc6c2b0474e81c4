"""Reference systems of this track, one module a unit."""
