"""MNLI's layout: twelve columns in train, sixteen in dev, of which `sentence1, sentence2, gold_label` matter."""

from kdpipe.tasks._glue import Glue


class Mnli(Glue):
    """Williams et al. 2018, arXiv:1704.05426: entailment, neutral, contradiction."""

    texts = ("sentence1", "sentence2")
    label = "gold_label"
