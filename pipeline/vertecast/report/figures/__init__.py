"""Pictures of CTs, films and cines with what was found in them."""
