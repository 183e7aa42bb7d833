"""SST-2's layout: `sentence, label`."""

from kdpipe.tasks._glue import Glue


class Sst2(Glue):
    """Socher et al. 2013: 0 negative, 1 positive. Train holds phrases; each ends in a space, which is kept."""

    texts = ("sentence",)
