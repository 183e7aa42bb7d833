"""Trains the part-of-speech tagger that lies in `tagger/`: Penn tags, learnt from UD English EWT.

    python -m kdpipe.augment.train_tagger --train TRAIN.conllu.gz --dev DEV.conllu.gz --out FOLDER

Without paths the two parts are looked for in `$KDPIPE_DATASETS/ud-ewt`.
"""

import argparse
import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.converters import conllu_to_docs
from spacy.util import fix_random_seed, minibatch
from thinc.api import Adam, Config, Optimizer, warmup_linear

WIDTH = 96
MODEL = {
    "@architectures": "spacy.Tagger.v2",
    "nO": None,
    "normalize": False,
    "tok2vec": {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.CharacterEmbed.v2",
            "width": WIDTH,
            "rows": 3000,
            "nM": 24,
            "nC": 8,
            "include_static_vectors": False,
            # Not NORM: the tokenizer gives "n't" the norm "not" in "can't", but not where "n't" stands alone.
            "feature": "LOWER",
        },
        "encode": {
            "@architectures": "spacy.MaxoutWindowEncoder.v2",
            "width": WIDTH,
            "window_size": 1,
            "maxout_pieces": 3,
            "depth": 4,
        },
    },
}
META = {
    "name": "kdpipe_en_tagger",
    "version": "1.0.0",
    "spacy_version": ">=3.8,<4",
    "description": "Penn part-of-speech tags for English text, cased or lower case.",
    "author": "the kdpipe developers",
    "license": "CC BY-SA 4.0",
    "sources": [
        {
            "name": "UD English EWT @ 15d613d8447b (2025-05-10)",
            "url": "https://github.com/UniversalDependencies/UD_English-EWT",
            "author": "Natalia Silveira, Timothy Dozat, Christopher Manning, Sebastian Schuster, Ethan Chi, "
            "John Bauer, Miriam Connor, Marie-Catherine de Marneffe, Nathan Schneider, Sam Bowman, Hanzhi Zhu, "
            "Daniel Galbraith and the other contributors",
            "license": "CC BY-SA 4.0",
        }
    ],
}
EPOCHS = 10
BATCH = 48
DROPOUT = 0.3
LEARN_RATE = 0.003
WARMUP_STEPS = 100
LOWERED = 0.25  # the share of sentences that an epoch shows in lower case


def pipeline() -> Language:
    """An untrained English pipeline: tokenizer and tagger."""
    nlp = spacy.blank("en", meta=META)
    nlp.add_pipe("tagger", config={"model": MODEL})
    return nlp


def read(path: Path) -> list[Doc]:
    """One Doc per sentence of a CoNLL-U file, plain or gzipped."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return list(conllu_to_docs(file.read(), n_sents=1, no_print=True))


def examples(nlp: Language, sentences: list[Doc], lower: bool = False, own_tokens: bool = False) -> list[Example]:
    """Sentences as pairs (untagged, gold); the untagged side has the gold tokens or the tokenizer's own."""
    pairs = []
    for sentence in sentences:
        words = [token.text.lower() if lower else token.text for token in sentence]
        spaces = [bool(token.whitespace_) for token in sentence]
        gold = Doc(nlp.vocab, words=words, spaces=spaces, tags=[token.tag_ for token in sentence])
        untagged = nlp.make_doc(gold.text) if own_tokens else Doc(nlp.vocab, words=words, spaces=spaces)
        pairs.append(Example(untagged, gold))
    return pairs


def batches(nlp: Language, sentences: list[Doc], seed: int) -> Iterator[Iterator[list[Example]]]:
    """For each epoch its batches: shuffled, with `LOWERED` of the sentences in lower case."""
    rng = random.Random(seed)
    pairs = list(zip(examples(nlp, sentences), examples(nlp, sentences, lower=True), strict=True))
    for _ in range(EPOCHS):
        shown = [lowered if rng.random() < LOWERED else cased for cased, lowered in pairs]
        rng.shuffle(shown)
        yield minibatch(shown, BATCH)


def adam(sentences: int) -> Optimizer:
    """Adam with averaged weights, whose learning rate falls linearly to zero over all epochs."""
    steps = EPOCHS * -(-sentences // BATCH)
    return Adam(
        warmup_linear(LEARN_RATE, WARMUP_STEPS, steps),
        L2=0.01,
        L2_is_weight_decay=True,
        grad_clip=1.0,
        use_averages=True,
    )


def fit(nlp: Language, train: list[Doc], dev: list[Doc], seed: int) -> bytes:
    """The tagger's averaged weights after the epoch that tags the dev part best."""
    fix_random_seed(seed)
    nlp.initialize(lambda: examples(nlp, train))
    optimizer = adam(len(train))
    held_out = examples(nlp, dev)
    best, weights = -1.0, b""
    for epoch, shown in enumerate(batches(nlp, train, seed)):
        for batch in shown:
            nlp.update(batch, sgd=optimizer, drop=DROPOUT)
            optimizer.step_schedules()
        with nlp.use_params(optimizer.averages):
            accuracy = nlp.evaluate(held_out)["tag_acc"]
            print(f"epoch {epoch + 1}: {accuracy:.4f}", flush=True)
            if accuracy > best:
                best, weights = accuracy, nlp.get_pipe("tagger").to_bytes(exclude=["vocab"])
    return weights


def bare(weights: bytes) -> Language:
    """The trained pipeline with no words in its vocabulary: the tagger hashes words and never looks one up."""
    fresh = pipeline()
    fresh.get_pipe("tagger").from_bytes(weights, exclude=["vocab"])
    for label in fresh.get_pipe("tagger").labels:
        fresh.vocab.strings.add(label)
    return fresh


def scores(nlp: Language, dev: list[Doc]) -> dict[str, float]:
    """Dev accuracies; with own tokens, tags count on tokens that align one to one with a gold token (F1)."""
    return {
        f"{'own' if own else 'gold'}_tokens{'_lower' if lower else ''}": nlp.evaluate(
            examples(nlp, dev, lower=lower, own_tokens=own)
        )["tag_acc"]
        for own in (False, True)
        for lower in (False, True)
    }


def write(nlp: Language, measured: dict[str, float], out: Path) -> None:
    """Into the folder, with the scores in its meta.json and without the unused training settings in its config.cfg."""
    nlp.meta["performance"] = measured
    nlp.to_disk(out)
    Config({section: nlp.config[section] for section in ("nlp", "components")}).to_disk(out / "config.cfg")


def main() -> None:
    datasets = os.environ.get("KDPIPE_DATASETS")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for part in ("train", "dev"):
        default = Path(datasets, "ud-ewt", f"en_ewt-ud-{part}.conllu.gz") if datasets else None
        parser.add_argument(f"--{part}", type=Path, default=default, required=default is None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    dev = read(options.dev)
    weights = fit(pipeline(), read(options.train), dev, options.seed)
    measured = scores(bare(weights), dev)
    write(bare(weights), measured, options.out)
    print(measured)


if __name__ == "__main__":
    main()
