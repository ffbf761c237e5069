"""A site for many members: consumers of four kinds, and views and processes that send to them from elsewhere.

It imports itself relatively and names itself by `__package__`, so that a copy of it runs under another name.
"""
