"""Base class of documents: data that the API returns as JSON and that the command line and the console show."""

from pydantic import BaseModel


class Document(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Base of all documents: immutable, without unknown fields, described by the docstrings of its fields."""
