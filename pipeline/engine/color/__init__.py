"""Color spaces that files declare by numbers: code points, profiles built from them, and tone mapping of HDR."""
