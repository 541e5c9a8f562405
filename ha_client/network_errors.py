"""From what the operating system and OpenSSL raise to typed causes."""

import errno
import ssl

from . import causes
from .exceptions import CannotConnect, readable


def os_error(error: OSError, host: str, port: int) -> CannotConnect:
    """The typed form of a failed ``connect``."""
    if error.errno == errno.ECONNREFUSED:
        return CannotConnect(causes.REFUSED, host=host, port=port)
    if error.errno == errno.ETIMEDOUT:
        return CannotConnect(causes.CONNECT_TIMEOUT, host=host, port=port)
    detail = readable(error.strerror or error)
    return CannotConnect(causes.UNREACHABLE, host=host, port=port, detail=detail)


def tls_error(error: Exception, host: str, port: int) -> CannotConnect:
    """The typed form of a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CannotConnect(
            causes.TLS_CERTIFICATE,
            host=host,
            port=port,
            detail=readable(error.verify_message),
            verify_code=error.verify_code,
        )
    if isinstance(error, ssl.SSLError) and error.reason:
        detail = error.reason.replace("_", " ").lower()
    else:
        detail = readable(getattr(error, "strerror", None) or error)
    return CannotConnect(causes.TLS_HANDSHAKE, host=host, port=port, detail=detail)
