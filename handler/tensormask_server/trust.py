"""Which certificates TLS trusts: those of the system, or of the file that SSL_CERT_FILE names."""

import os
import ssl

from tensormask_server.printable import printable

TRUST_VARIABLE = "SSL_CERT_FILE"


def trust_problem() -> str:
    """Why the file that SSL_CERT_FILE names gives no certificate, which ssl doesn't report; "" where it does."""
    path = os.environ.get(TRUST_VARIABLE, "")
    if not path:
        return ""
    named = f"{TRUST_VARIABLE} names {printable(path)}, which"
    expected = "expected a PEM file of certificates that this user can read"
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return f"{named} holds no certificate; {expected}"
    except OSError as error:
        return f"{named} can't be read: {error.strerror}; {expected}"
    return ""
