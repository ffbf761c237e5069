"""The site under test: each part brings a module `<part>_urls`, and consumers in a module `<part>_routing`."""
