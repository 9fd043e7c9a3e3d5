"""Serverless batch image pipeline: all code that is deployed, apart from the triggers in `function_app.py`."""

__version__ = "0.9.0"
