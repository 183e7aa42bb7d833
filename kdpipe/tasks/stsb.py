"""STS-B's layout: ten columns, of which `sentence1, sentence2, score` matter."""

from kdpipe.tasks._glue import Glue


class Stsb(Glue):
    """Cer et al. 2017, arXiv:1708.00055: similarity from 0 to 5."""

    texts = ("sentence1", "sentence2")
    label = "score"
