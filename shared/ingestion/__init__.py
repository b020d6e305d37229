"""From an accepted change of an item to one that is served: run by the gateway and the relay."""
