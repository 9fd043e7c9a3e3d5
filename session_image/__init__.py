"""The image of a custom container session pool, with the engine among its packages."""
