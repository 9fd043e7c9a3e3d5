"""A serverless batch image pipeline: everything that is deployed, except the triggers in `function_app.py`."""
