"""Charts as inline SVG, for pages that open without a server, a script or a library."""
