"""MRPC's layout: `Quality, #1 ID, #2 ID, #1 String, #2 String`, with a byte-order mark."""

from kdpipe.tasks._glue import Glue


class Mrpc(Glue):
    """Dolan and Brockett 2005: 0 different, 1 paraphrase."""

    texts = ("#1 String", "#2 String")
    label = "Quality"
