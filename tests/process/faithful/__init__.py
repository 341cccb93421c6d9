"""The rule that code of the user's is the same on a worker, asked of one project in every way it can be run.

`project/` is what a user might have; its `main.py` looks at itself in a hundred probes. `ways` runs that as a script, a
module, under pytest, in a notebook, at a prompt, each in plain Python and on workers; the values must be the same.
Tests ask for some levels of reuse in each way, and for all with `pytest --all-levels`.
`python -m tests.process.faithful` prints what differs.
"""
