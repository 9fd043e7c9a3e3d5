"""Jobs: execute one, dispatch messages, retry and dismiss, record outcomes, and handle dead letters."""
