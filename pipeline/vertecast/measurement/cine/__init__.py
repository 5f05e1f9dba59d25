"""A cine, frame by frame: bodies followed, cement told from what was there before. Begin with `analysis`."""
