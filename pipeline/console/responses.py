"""HTTP responses of the console, with headers that restrict the browser."""

import azure.functions as func

# Only files of the console; no inline scripts or styles; no frames; forms submit only to the console. Results of the
# playground come from memory (data:), and so do images before their upload (blob:).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The sandbox stops active content in an image that the browser opens as a page.
IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def page(html: str, status: int = 200, **headers: str) -> func.HttpResponse:
    """Return a page. It depends on the time and the user, so it must not be cached."""
    policies = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
    return func.HttpResponse(
        html,
        status_code=status,
        headers={**SECURITY_HEADERS, **policies, **_named(headers)},
        mimetype="text/html",
        charset="utf-8",
    )


def plain_text(status: int, text: str) -> func.HttpResponse:
    """Return a line of text without a page around it."""
    return func.HttpResponse(text, status_code=status, headers=SECURITY_HEADERS, mimetype="text/plain")


def redirect(url: str, **headers: str) -> func.HttpResponse:
    """Redirect to another page, which the browser loads with GET (303)."""
    own = {"Location": url, "Cache-Control": "no-store"}
    return func.HttpResponse(b"", status_code=303, headers={**SECURITY_HEADERS, **own, **_named(headers)})


def static_file(data: bytes, content_type: str, digest: str) -> func.HttpResponse:
    """Return a static file. Its URL contains a hash of its content, so browsers may cache it forever."""
    own = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{digest}"'}
    return func.HttpResponse(data, headers={**SECURITY_HEADERS, **own}, mimetype=content_type)


def image(data: bytes, content_type: str, max_age_seconds: int = 0) -> func.HttpResponse:
    """Return a user's image. Only the browser may cache it, for `max_age_seconds`."""
    caching = f"private, max-age={max_age_seconds}" if max_age_seconds else "no-store"
    own = {"Content-Security-Policy": IMAGE_POLICY, "Cache-Control": caching}
    return func.HttpResponse(data, headers={**SECURITY_HEADERS, **own}, mimetype=content_type)


def _named(headers: dict[str, str]) -> dict[str, str]:
    """Turn keyword arguments into header names: `Set_Cookie` is `Set-Cookie`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
