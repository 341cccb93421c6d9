"""Bytes between processes: messages and their codec, channels, shared segments, and the event loop that moves them.

The wire format is known here only. Nothing is decided here, and nothing of users is unpickled. Called by all
processes.
"""
