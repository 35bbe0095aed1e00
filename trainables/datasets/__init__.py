"""Image sets: generated ones and folders of files, behind one interface."""
