"""Connects to the server at a URL, with a clear error if that fails."""

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult

from tensormask_server.client.errors import SENTENCE, Unreachable, WrongServer
from tensormask_server.printable import one_line, printable
from tensormask_server.trust import TRUST_VARIABLE, trust_problem

EXPECTED_TRUST = (
    f"to trust your own certificate, set the environment variable {TRUST_VARIABLE} to its file, and call the "
    "server by a name that the certificate has"
)
# OpenSSL's reasons if the server sends plain HTTP in place of TLS; the reason depends on OpenSSL's version
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def connected(parts: SplitResult, timeout: float) -> HTTPConnection:
    """Connects to the server of a URL.

    Args:
        parts: the URL's. Its scheme is http or https.
        timeout: in seconds.

    Returns:
        The open connection. The caller closes it.

    Raises:
        WrongServer: the server's certificate isn't trusted, or it doesn't speak TLS.
        Unreachable: no server answers.
    """
    url = printable(parts.geturl())
    connection: HTTPConnection | None = None
    try:
        connection_class = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = connection_class(parts.hostname or "", parts.port, timeout=timeout)
        connection.connect()
        return connection
    except (OSError, UnicodeError, HTTPException) as error:
        if connection is not None:
            connection.close()
        raise _error_for(error, url) from error


def _error_for(error: Exception, url: str) -> Unreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = trust_problem() or EXPECTED_TRUST
        return WrongServer(f"the certificate of {url} isn't trusted: {error}; {advice}")
    if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
        return WrongServer(f"the server at {url} doesn't speak https; use {url.replace('https://', 'http://', 1)}")
    if isinstance(error, ssl.SSLError):  # a server that is just starting may do this, so a later try may succeed
        reason = one_line(error, SENTENCE)
        return Unreachable(f"the server at {url} ended the TLS handshake: {reason}; if it speaks http, use http://")
    return Unreachable(f"no server answers at {url}: {one_line(error, SENTENCE)}")
