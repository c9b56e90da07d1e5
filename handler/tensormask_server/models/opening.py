"""Opens https URLs, and says in words why one can't be opened."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    getproxies,
    proxy_bypass,
)

from tensormask_server.models.errors import ModelError
from tensormask_server.printable import one_line, printable
from tensormask_server.trust import TRUST_VARIABLE, trust_problem

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 10
AGENT = "tensormask-segmentation-server"
# what opening a URL and reading from it raise where the network or the server fails
NETWORK_ERRORS = (OSError, http.client.HTTPException, UnicodeError)  # UnicodeError: no host can have such a name


def check_url(url: str) -> None:
    """Checks a URL before anything is sent.

    Raises:
        ModelError: it isn't an https URL of a host.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ModelError(f"{printable(url)} is not a URL: {one_line(error)}; expected https://HOST/PATH") from error
    if parts.scheme != "https" or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise ModelError(
            f"{printable(url)} can't be downloaded; expected an https URL of printable ASCII, https://HOST/PATH"
        )
    if parts.username is not None:
        raise ModelError(
            f"the URL of {printable(parts.hostname)} has a user's name or password, which isn't supported; "
            "fetch the file yourself, and give its path"
        )


def opened(url: str, headers: Mapping[str, str], timeout: float) -> Any:
    """Sends a GET request and follows redirects.

    The environment's proxies (https_proxy, no_proxy) are used. Certificates are checked against the system's, or
    against those of SSL_CERT_FILE.

    Args:
        url: `check_url` accepts it.
        timeout: seconds without any byte after which reading fails.

    Returns:
        The response, with the status 200 or another one of success. The caller closes it.

    Raises:
        ModelError: a redirect leads to something other than https.
        HTTPError: the server answers with an error.
        NETWORK_ERRORS: no server answers; see `reason_for`.
    """
    opener = OpenerDirector()  # without the handlers of http, ftp and file
    handlers = (
        ProxyHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    for _ in range(MOST_REDIRECTS):
        try:
            return opener.open(Request(url, headers={"User-Agent": AGENT, **headers}), timeout=timeout)
        except HTTPError as error:
            target = error.headers.get("Location")
            if error.code not in REDIRECTS or target is None:
                raise
            error.close()
        url = _redirected(url, target)
    raise ModelError(f"{printable(url)} is one redirect too many; expected at most {MOST_REDIRECTS}")


def _redirected(url: str, target: str) -> str:
    try:
        location = urljoin(url, target)
        scheme = urlsplit(location).scheme
    except ValueError as error:
        raise ModelError(f"{printable(url)} redirects to {printable(target)}, which isn't a URL") from error
    if scheme != "https":
        raise ModelError(f"{printable(url)} redirects to {printable(location)}, which isn't https; it is not followed")
    check_url(location)
    return location


def reason_for(error: Exception, url: str) -> str:
    """Why a URL can't be opened or read, in words, without the URL.

    Args:
        error: one of NETWORK_ERRORS.
    """
    host = printable(urlsplit(url).hostname or "")
    if isinstance(error, HTTPError):
        return f"{host} answers {error.code} {printable(error.reason)}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        advice = trust_problem() or (
            f"if your network or mirror has an authority of its own, set {TRUST_VARIABLE} to its certificate"
        )
        return f"the certificate of {host} isn't trusted ({printable(cause.verify_message)}); {advice}"
    if isinstance(cause, socket.gaierror):
        reason = f"{host} has no address here ({printable(cause.strerror)})"
    elif isinstance(cause, TimeoutError):
        reason = f"{host} doesn't answer"
    elif isinstance(cause, ConnectionRefusedError):
        reason = f"{host} refuses the connection"
    elif isinstance(cause, OSError) and cause.strerror:
        reason = f"the connection to {host} failed ({printable(cause.strerror)})"
    else:
        reason = f"the connection to {host} failed ({one_line(cause, 300)})"
    return reason + _by_proxy(host)


def _by_proxy(host: str) -> str:
    proxy = getproxies().get("https")
    if not proxy or proxy_bypass(host):
        return ""
    return f", by the proxy {printable(proxy.rpartition('@')[2])} of the environment"
