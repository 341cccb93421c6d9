"""The event log of a run, and what is made of it: live view, report, explanations, advice.

`records` is its schema, `segments` the format of its files. The interchange writes it, everything else reads. What
reads is pure beyond `reading`: it works on a run that goes on, on one that ended, and on one that was killed.
"""
