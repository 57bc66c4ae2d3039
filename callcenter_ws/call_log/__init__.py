"""The calls of today: an index of each tenant's calls since the start of its local day, made from the stored stream.

``step`` is what is kept of one event, ``record`` folds the steps of one call, ``day`` has the calls of one tenant,
``filling`` reads them from the store, ``service`` keeps the days of all tenants, and ``query`` answers questions with
what the asker may see; ``slices`` divides their work.
"""
