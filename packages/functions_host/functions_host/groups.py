"""Groups of functions that share instances on Azure's Flex Consumption plan.

All HTTP functions share instances, and so do all blob functions. Each other function has instances of its own:
learn.microsoft.com/azure/azure-functions/flex-consumption-plan, per-function scaling.
"""

from collections.abc import Sequence

from functions_host.errors import HostError
from functions_host.functions import Function

HTTP_GROUP, BLOB_GROUP = "http", "blob"
SHARED_GROUPS = {"httpTrigger": HTTP_GROUP, "blobTrigger": BLOB_GROUP}


def group_of(name: str, trigger_type: str) -> str:
    """Return the group of a function: `http`, `blob`, or its own name."""
    return SHARED_GROUPS.get(trigger_type, name)


def functions_of_group(functions: Sequence[Function], group: str) -> list[Function]:
    """Return the functions of a group; all functions if `group` is empty.

    Raises:
        HostError: The app has no function in this group.
    """
    chosen = [each for each in functions if group in ("", group_of(each.name, each.trigger_type))]
    if not chosen:
        known = sorted({group_of(each.name, each.trigger_type) for each in functions})
        raise HostError(f"no function is in the group {group}; the groups are {', '.join(known)}")
    return chosen
