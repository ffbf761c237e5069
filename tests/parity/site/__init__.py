"""A project written for Django Channels. The parity suite serves it as it is, and once more after replacing
`channels.` by `grip_consumers.` in its files."""
