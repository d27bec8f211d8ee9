"""How does Linux do it? Namespaces, links, rules, processes. Thin, and the only importer of ctypes."""
