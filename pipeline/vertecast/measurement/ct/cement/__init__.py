"""Cement on CT: what is cement, how much of it lies where, and by which way it left. Begin with `map.find_cement`."""
