"""Sources: daemons that have a name, numbered events and a lease (``docs/senders.rst``, "Sources")."""
