"""The command `check`: what is wrong with a Parsl configuration, before it waits in a queue."""
