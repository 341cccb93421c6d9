"""Large arguments and results between the script's host and nodes that do not share its memory.

    script ──▶ segment ──▶ server ═══ encrypted, one connection a node ═══▶ manager ──▶ segment ──▶ worker
           ◀── segment ◀──  (a process of its own)                      ◀══        ◀── segment ◀──

Interchange and calls name segments, as within a host; a call reaches its worker when its segment is here, and an
outcome leaves when its segment is there. The bytes meet neither the interchange nor the loop that calls wait for.
"""
