"""What users write: contexts, context apps, their options and `map`.

Also `portable`, which runs context apps on executors that are not ours and in plain calls. Not how a call is sent
(`executor`), not how an instance is built and kept (`retain`). Called by users' scripts.
"""
