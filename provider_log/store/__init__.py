"""Where does a partition keep its state? The store port, its adapter and apply."""
