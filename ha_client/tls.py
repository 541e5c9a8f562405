"""One TLS policy for REST and WebSocket.

``requests`` would trust certifi's list and OpenSSL the system's: a private CA
installed on the machine would work for one and not for the other. Both get the
context made here instead. Trusted are, in this order, the file or directory named
by REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE (as ``requests`` reads them: nothing else
then); else OpenSSL's defaults, which honour SSL_CERT_FILE and SSL_CERT_DIR; and
certifi's list only on a system without a store of its own.
"""

import os
import ssl

from . import causes
from .config_check import LinkConfig
from .exceptions import CannotConnect, readable
from .transport import Canceller, open_socket


def make_tls_context(verify: bool = True) -> ssl.SSLContext:
    """A client context; ``verify=False`` accepts any certificate.

    Raises OSError when a CA bundle named by the environment cannot be read.
    """
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        if os.path.isdir(bundle):
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    if not _has_store(context):
        from requests.certs import where

        context.load_verify_locations(where())
    return context


def _has_store(context: ssl.SSLContext) -> bool:
    if context.cert_store_stats()["x509_ca"]:
        return True
    # A directory of hashed certificates is read on demand and counts as 0.
    directory = ssl.get_default_verify_paths().capath
    return bool(directory and os.listdir(directory))


def bundle_error(error: OSError, host: str, port: int) -> CannotConnect:
    """The typed form of a CA bundle that cannot be read."""
    detail = readable(f"CA bundle: {error}")
    return CannotConnect(causes.TLS_HANDSHAKE, host=host, port=port, detail=detail)


def speaks_tls(config: LinkConfig, timeout: float, canceller: Canceller) -> bool:
    """Whether a server that hung up on plain HTTP expects TLS.

    Home Assistant's own TLS server closes the connection without a word. Raises
    :class:`Cancelled`.
    """
    if config.is_tls or timeout <= 0:
        return False
    try:
        open_socket(
            config.host,
            config.port,
            tls=make_tls_context(verify=False),
            timeout=timeout,
            canceller=canceller,
        ).close()
    except CannotConnect:
        return False
    return True
