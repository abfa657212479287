"""Tables on disk.

In: what a source or a set of images yields. Out: folders of columns in pages, with statistics and checksums.
Independent of file formats.
"""
