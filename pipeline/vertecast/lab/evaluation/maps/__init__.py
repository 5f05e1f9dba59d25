"""Label maps against label maps: outlines, things, names, places."""
