"""Function host: run an Azure Functions app (Python v2 model) on this machine, with triggers that behave as on Azure.

The host knows nothing about the app. It does not implement function keys or any binding except the trigger.
"""
