"""``python -m grip_consumers.migrate PATH``: moves a project's source from `channels` to `grip_consumers`.

    command    arguments, output, exit status
    files      which files, their bytes and encodings
    source     one parsed file: metadata, and the plan of what changes in it
    project    what several files have to know of each other
    imports    import statements and the names that they bind
    settings   INSTALLED_APPS, MIDDLEWARE, CHANNEL_LAYERS
    strings    dotted paths in strings
    elements   takes out and puts in elements of lists and dictionaries, with their comments and line breaks
    names      which module and name of Channels stands where

It needs the extra `migrate` (libcst) and imports neither Django nor the project.
"""
