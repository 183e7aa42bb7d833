"""QNLI's layout: `index, question, sentence, label`."""

from kdpipe.tasks._glue import Glue


class Qnli(Glue):
    """Rajpurkar et al. 2016, as GLUE recast it: does the sentence answer the question?"""

    texts = ("question", "sentence")
