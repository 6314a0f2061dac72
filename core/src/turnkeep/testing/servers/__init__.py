"""Real servers for tests: started on free ports of this machine, killed, frozen, cut off.

`redis` and `postgres` start servers; `proxy` stands between one and its clients; `process` is what
they share. Nothing but the standard library is needed, and the servers' own programs.
"""
