"""WNLI's layout: `index, sentence1, sentence2, label`."""

from kdpipe.tasks._glue import Glue


class Wnli(Glue):
    """Levesque et al. 2012, as GLUE recast it: 0 not entailed, 1 entailed. Dev is adversarial to train."""

    texts = ("sentence1", "sentence2")
