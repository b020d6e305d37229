"""Text and images to vectors."""
