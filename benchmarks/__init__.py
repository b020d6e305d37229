"""Speed against a named peer, measured in the same run; and what holds under lasting load."""
