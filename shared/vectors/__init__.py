"""The index of item vectors behind one interface: Qdrant's server, or its engine embedded."""
