"""Transactions on tables, written in a fraction of the time.

azure-core writes the body of a transaction with the e-mail package, under a policy that parses every header anew each
time it is read: a seventh of the processor time of a job went there. The package's older policy does
not, and gives the same bytes (a test compares them).
"""

from __future__ import annotations

from email.policy import Compat32

from azure.core.utils import _pipeline_transport_rest_shared as framing

POLICY = Compat32(linesep="\r\n", max_line_length=None, mangle_from_=False)


def use_fast_policy() -> None:
    """From now on, in this process. An azure-core that frames in another way does not notice."""
    setattr(framing, "HTTP", POLICY)  # noqa: B010 - it is not said to be there
