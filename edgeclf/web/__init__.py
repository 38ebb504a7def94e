"""The page that a service shows in a browser, and the browser's engines: files, no Python.

`edgeclf serve --ui` sends them. What is in `static/engines/` is not committed:
`python tools/fetch_web.py` gets it from the npm registry.
"""
