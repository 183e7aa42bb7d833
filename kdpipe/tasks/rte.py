"""RTE's layout: `index, sentence1, sentence2, label`."""

from kdpipe.tasks._glue import Glue


class Rte(Glue):
    """Dagan et al. 2006 to Bentivogli et al. 2009: entailment, not_entailment."""

    texts = ("sentence1", "sentence2")
