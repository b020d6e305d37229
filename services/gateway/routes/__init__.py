"""The routes, one file a domain: request in, service function, response out."""
