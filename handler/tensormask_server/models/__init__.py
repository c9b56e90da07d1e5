"""Models by name: the table of models, the files of one, and the downloads that are kept in a cache. No torch here."""
