"""QQP's layout: `id, qid1, qid2, question1, question2, is_duplicate`."""

from kdpipe.tasks._glue import Glue


class Qqp(Glue):
    """Iyer et al. 2017: 0 different, 1 duplicate.

    Train files in circulation hold a few rows that lack fields: set bad_rows = "drop" for them.
    """

    texts = ("question1", "question2")
    label = "is_duplicate"
