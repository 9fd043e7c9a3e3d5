"""Jobs: execute one, dispatch messages, retry and dismiss, and handle dead letters."""
