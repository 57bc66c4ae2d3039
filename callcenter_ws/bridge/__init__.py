"""Bridges: connect to telephone exchanges, and publish what happens there as events of the gateway.

A bridge has three parts for each kind of exchange, here that of Asterisk:

* ``asterisk``: its protocol and the translation of its events, which know neither Twisted nor a clock;
* ``calls``, ``agents``, ``outgoing`` and the like in this folder: the state of calls and agents, and our events of
  it, for every kind of exchange;
* the service: connects, reconnects, and sends through ``callcenter_ws.remote``. It knows an exchange only as an
  ``ExchangeConnection``, which ``kinds`` makes.
"""
