"""The ``callcenter-ws`` command."""
