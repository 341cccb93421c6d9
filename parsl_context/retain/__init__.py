"""Instances of contexts in one process: build, hold, share, isolate, clean up; bind them to a call's arguments.

Not which process holds what (`scheduling`), not the processes of a node (`pool`). Called by workers and templates, and
by `apps.portable` in processes that are not ours.
"""
