"""Code of the view-style APIs, behind both proxies and on both kinds of server."""
