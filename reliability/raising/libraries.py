"""All exceptions of other libraries: each function raises one, as users meet it.

Where a server is needed, there is one on loopback that says 404 to every request, with JSON.
"""

from __future__ import annotations

from reliability.raising import case, data, databases, http_clients, others

CASES = {
    name: each
    for module in (http_clients, data, databases, others)
    for name, each in case.CASES.items()
    if each.raises.__module__ == module.__name__
}
"""By name."""
