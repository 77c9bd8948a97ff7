"""Other systems, emulated: aplex is run with what macOS, or Windows, would let it have.

``pytest --emulate=macos`` (or ``windows``). What these systems lack is taken away from the modules
of aplex, in this process and in each one that it starts: a module of aplex that imports ``os``
gets a *view* of it, in which names are missing or are other ones. The standard library and the
tests keep what they have, as they have to run on this system. `Views` says what is missing where.

What this shows: that aplex uses nothing which is not there, and keeps its promises by what is. What
it cannot show: how those systems behave where they do the same thing differently.
"""
