"""A familiar face: what `wandb.Api()` reads, read from the warehouse.

    api         where one starts: paths to objects
    reader      the one way in which objects ask the warehouse
    records     what all objects share: attributes in W&B's spellings, and no way to change them
    listing     what all lists share: length, slices, iteration
    the rest    one module a kind of thing, as in wandb/apis/public

docs/offline.md says what is alike, what differs and what raises.
"""

from wbsync.offline.api import Api

__all__ = ["Api"]
