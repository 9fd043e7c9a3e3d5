"""Memory of an instance that processes HTTP requests, by the same formula as in `infra/main.bicep`."""

from pipeline.settings import MIB, Settings

# The Functions host, the worker and the transfers of jobs.
BASE_MIB = 512
# Copies of a request body that the platform holds beside the app's own: measured in the worker, assumed in the host.
PLATFORM_COPIES = 4


def required_mib(settings: Settings) -> int:
    """Return the memory in MiB for the concurrent requests of an instance, all with bodies of the maximum size."""
    body = max(settings.http_max_body_bytes, settings.http_max_response_bytes)
    bodies = settings.http_concurrency * body * PLATFORM_COPIES + settings.http_memory_bytes
    return BASE_MIB + -(-bodies // MIB)
