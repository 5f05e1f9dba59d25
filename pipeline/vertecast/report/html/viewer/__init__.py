"""What the page's own viewer shows: small 8-bit grids of the CT, films, and what was found in them."""
