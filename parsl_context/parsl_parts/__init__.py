"""Parts of Parsl that we rely on: what its releases do differently, and how little of it a process can import.

Not what we add to Parsl (`executor`). Called by the entry points of all processes.
"""
