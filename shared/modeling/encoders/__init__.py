"""Text and images to vectors: the sources of E_t and E_v."""
