"""How does one partition turn messages into committed turns? Small pure parts, and one shell that wires them.

Pure: `head` (what a record must continue), `ownership` (phases), `inbox`, `work` and `positions` (what waits),
`partition_time`, `batch` (what one transaction carries). Shells: `restore`, `lanes`, `pipeline`, `partition`.

Rules of this room, each normative in the design's protocol page:
1. The log decides. What is not committed can be dropped at any moment, exactly; what is committed shows by reading.
2. An owner's token and the void rule make ownership; nobody's opinion does.
3. Effects (activity start, lease, cancel signal, reply, query) leave only after the commit of what caused them.
"""
