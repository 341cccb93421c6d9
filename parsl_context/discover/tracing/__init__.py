"""What really happens when a context is built: imports, opened files, mapped libraries, time and memory.

parsl-context discover --trace ──request──▶ a fresh process, as a worker is (`traced`) ──▶ `data.Trace`
                                             └ `recorder`: what Python and the system tell of it
"""
