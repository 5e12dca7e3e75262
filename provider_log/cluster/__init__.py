"""Several nodes that share the partitions of one application.

The group places partitions and locks nothing: it says who *should* have which. Who *has* one is decided by the log
alone (`provider_log.partition`), so a placement that comes late, twice or wrong costs time and never work.
"""
