"""The course as static pages that open from a folder, with no server and no network.

Never says anything that the course itself does not.
"""
