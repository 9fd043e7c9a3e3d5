"""Event Grid emulator: a proxy for the blob service of a storage emulator that sends Azure's blob events to webhooks.

It forwards every request unchanged. For each blob that is written or deleted, it posts an event to the subscribed
webhooks, with Azure's validation handshake, filters, retry schedule and dead letters.
"""
