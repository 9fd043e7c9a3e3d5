"""Sessions shut in: what they see, how they are started, and how they end."""
