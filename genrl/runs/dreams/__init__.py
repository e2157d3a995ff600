"""What `genrl dream` adds: the socket of worlds, dreams of recorded steps, and dream against reality."""
