"""Makes `depqueue+...://` known to Kombu with no import in the user's code.

Kombu imports every entry point of its group `kombu.serializers` when it starts; this
module is one, and adds the transport's aliases on the way. The serializer itself is
none: without encoder and decoder Kombu registers nothing that could be used.
Whatever goes wrong here must not break `import celery`.
"""

from __future__ import annotations

import contextlib

serializer = (None, None, "application/x-depqueue", "utf-8")

with contextlib.suppress(Exception):
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES.setdefault("depqueue", "kombu_depqueue.transport:Transport")
    # After a failover Kombu asks for the whole scheme of the next URL.
    for _scheme in ("sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb"):
        TRANSPORT_ALIASES.setdefault(f"depqueue+{_scheme}", "kombu_depqueue.transport:Transport")
