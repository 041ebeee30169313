"""Events: how announcements leave the house.

They come out of the outbox in the database, where they were put with the change that they tell of.
One worker a sink delivers them: at least once, in order for each resource, again and again until
the sink takes them or they are given up.
"""
