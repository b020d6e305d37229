"""What turns histories into the best items: the two engines, and the choice between them."""
