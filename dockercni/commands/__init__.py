"""What do people ask? A module for each verb, with its name.

`delete` is the verb `del`; `init` and `validate` are `networks init` and `networks validate`.

Shared by several verbs: `table` (the one table of commands), `usage` (its words in help and manuals), `containers`
(which one is meant, reconcile many), `liveness` (does the daemon live?), `convergence` (is everything as it should
be?), `missing` (which networks are lacking, and why), `plugin_versions`. Behind one verb: `diagnosis` (doctor),
`validation` (networks validate), `setup` (install), `manual` (man, completion, docs). Only `dockercni.render` prints.
"""
