"""Statistics: the figures of queues, agents and the tenant, folded from the tenant's stream.

Everything here is pure: no clock, no timer, no I/O. ``Fold`` applies one publication after the other; ``Reading`` gives
the figures at an instant; ``checkpoint`` turns the state of a fold into rows and back. Times are integer milliseconds,
so that sums are exact in any order.

* ``occurrence``: what the fold reads of a publication;
* ``settings``: thresholds, method and zone of a tenant and of its queues;
* ``sums``: buckets of a quarter of an hour; ``records``: calls, queues and agents;
* ``stays``, ``legs``, ``dispositions``, ``agents``: what each event changes; ``expiry``: calls without events;
* ``service_level``, ``figures``, ``zones``, ``reading``: from sums to figures.
"""
