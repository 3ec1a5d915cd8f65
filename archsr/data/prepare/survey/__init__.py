"""Every file is decoded and judged: photograph or not, its tags, its figures."""
