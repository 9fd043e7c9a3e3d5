"""Information that a source carries besides its pixels: find it, read the part that renditions keep, write it anew."""
