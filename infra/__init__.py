"""What runs the platform on one machine: installation, embedded servers, supervisor, commands."""
