"""``python -m grip_consumers.migrate PATH``: moves a project's source from `channels` to `grip_consumers`.

    command      arguments
    run          one run: reads, plans, writes, and says what it did
    files        which files, their bytes and encodings
    own          a `channels` of the project's own
    writing      files are replaced as a whole
    output       standard output and standard error
    differences  the diff, and where lines have gone
    source       one parsed file: metadata, and the plan of what changes in it
    formfeeds    what the parser does not keep
    project      what several files have to know of each other
    sharing      which of them reach into each other's imports
    imports      import statements and the names that they bind
    libraries    what else is written for Channels
    settings     MIDDLEWARE, and the other settings by
    apps         INSTALLED_APPS
    order        in which order its parts come together
    questions    what asks for an app
    layers       CHANNEL_LAYERS
    assigned     which value goes to which name
    strings      dotted paths in strings
    requirements  what a project asks for
    elements     takes out and puts in elements of lists and dictionaries, with their comments and line breaks
    names        which module and name of Channels stands where

It needs the extra `migrate` (libcst) and imports neither Django nor the project.
"""
