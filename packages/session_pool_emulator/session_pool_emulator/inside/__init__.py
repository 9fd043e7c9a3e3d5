"""What runs inside a sandbox, on the standard library and ipykernel; it imports nothing else of the project."""
