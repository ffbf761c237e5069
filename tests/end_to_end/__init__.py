"""End-to-end tests of the sample site, over real sockets, proxies and servers."""
