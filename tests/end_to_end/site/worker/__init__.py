"""A project whose workers write what they have handled into a file: settings, application and consumer."""
