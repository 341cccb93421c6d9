"""Files between nodes: chunks over TCP connections of their own, encrypted, checked, paced.

    manager or script ──commands──▶ Mover (one thread) ──Download──▶ TCP ──▶ Upload (another node's Mover)
                      ◀──outcomes──     └─ at most a few threads that read from the origin and touch the disk

Decides nothing: `scheduling.transfers` says who gets what from whom, and keys come over the control link.
"""
