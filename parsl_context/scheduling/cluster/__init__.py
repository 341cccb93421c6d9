"""Decides for the interchange: which manager gets which call, where contexts are built, which blocks go.

`state` takes events and gives actions (`events`). Not which worker of a manager (`node`). Called by
`interchange.driver`.
"""
