"""Several hosts behind a proxy, each in a network namespace of its own: make hosts."""
