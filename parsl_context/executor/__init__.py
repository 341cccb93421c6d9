"""In the user's script: `ContextExecutor`, which turns calls into messages and results into futures.

Its client of the interchange, the book of code that was sent, outcomes, blocks, MPI. Not what users write (`apps`), not
where a call runs (`scheduling`). Called by Parsl's DataFlowKernel and by users.
"""
