"""Columns of a ledger row that tell of its error."""

from typing import Any, Final

from pipeline.errors import PipelineError, TransientError

NO_ERROR: Final[dict[str, Any]] = {
    "error_kind": "",
    "error_class": "",
    "error_message": "",
    "error_tail": "",
    "error_service": "",
    "stage": "",
}


def columns_of(error: PipelineError, stage: str) -> dict[str, str]:
    """Return the columns of an error at a stage."""
    return {
        "error_kind": error.kind,
        "error_class": type(error).__name__,
        "error_message": error.message,
        "error_tail": error.stderr_tail,
        "error_service": error.dependency if isinstance(error, TransientError) else "",
        "stage": stage,
    }
