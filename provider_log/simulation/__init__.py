"""Does a whole cluster keep every rule, whatever a seed brings? Nodes, clients, log and clock in one process."""
