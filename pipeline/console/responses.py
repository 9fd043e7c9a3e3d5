"""Answers of the console, each with the headers that keep a browser from doing more than it should."""

from __future__ import annotations

import azure.functions as func

# Nothing but our own files; no script or style inside a page; nobody frames it; forms go nowhere else. Previews are
# shown from memory (data:, blob:), as are the pictures that a visitor is about to send.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# An image is no page: opened by itself it may do nothing at all.
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def page(html: str, status: int = 200, **headers: str) -> func.HttpResponse:
    """A page. It is about now and about whoever is signed in, so nobody keeps it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    safe = {**SAFE, "Content-Security-Policy": POLICY, "Cache-Control": "no-store", **named}
    return func.HttpResponse(html, status_code=status, headers=safe, mimetype="text/html", charset="utf-8")


def go_to(address: str, **headers: str) -> func.HttpResponse:
    """On to another page, with GET."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return func.HttpResponse(
        b"", status_code=303, headers={**SAFE, "Location": address, "Cache-Control": "no-store", **named}
    )


def file(data: bytes, content_type: str, tag: str) -> func.HttpResponse:
    """A file of the console. Its address has its content's hash in it, so a browser may keep it for good."""
    headers = {**SAFE, "Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{tag}"'}
    return func.HttpResponse(data, headers=headers, mimetype=content_type)


def picture(data: bytes, content_type: str, keep: int = 0) -> func.HttpResponse:
    """An image of somebody's, which the visitor's browser may keep for `keep` seconds."""
    caching = f"private, max-age={keep}" if keep else "no-store"
    headers = {**SAFE, "Content-Security-Policy": PICTURE_POLICY, "Cache-Control": caching}
    return func.HttpResponse(data, headers=headers, mimetype=content_type)
