"""Code that runs inside a sandbox. It imports the standard library and ipykernel, and nothing else of this package."""
