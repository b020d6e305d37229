"""Drawn pictures, and tiny checkpoints of the layouts that real ones have."""

import json

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

SENTENCES = [
    "red running shoes for the morning",
    "a table lamp of brass",
    "user sneakers for jogging in the park",
]


def drawn_circle(colour, size=(300, 200)):
    image = Image.new("RGB", size, "white")
    width, height = size
    box = (width // 2 - height // 3, height // 6, width // 2 + height // 3, height * 5 // 6)
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


def drawn_grid(colour, size=(300, 200)):
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x in range(0, size[0], 20):
        draw.line((x, 0, x, size[1]), fill=colour, width=4)
    for y in range(0, size[1], 20):
        draw.line((0, y, size[0], y), fill=colour, width=4)
    return image


@pytest.fixture(scope="session")
def circle():
    return drawn_circle


@pytest.fixture(scope="session")
def grid():
    return drawn_grid


def save_tokenizer(folder, *, before=None, after=None, turns=()):
    """A byte-level BPE tokenizer; `before` and `after` are put around every text."""
    around = [token for token in (before, after) if token]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=[*around, *turns],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    template = " ".join(part for part in (before, "$A", after) if part)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, tokenizer.token_to_id(token)) for token in around]
    )
    end = after or turns[-1]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=before, eos_token=end, pad_token=end
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def randomised(module, seed):
    """Parameters far from their start, so that no term of the model is near zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory):
    """A Llama of 2 layers with the turn tokens of Llama 3, its keys without a prefix."""
    folder = tmp_path_factory.mktemp("llm")
    vocabulary = save_tokenizer(
        folder,
        before="<|begin_of_text|>",
        turns=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    )
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    model = randomised(LlamaModel(config), seed=1)
    save_file({name: value.clone() for name, value in model.state_dict().items()},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    settings = config.to_dict() | {
        "architectures": ["LlamaEncoderModel"],
        "auto_map": {"AutoModel": "somewhere--modeling_llama_encoder.LlamaEncoderModel"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Vision tower, projection to 6 and text adapter from 16, under the published names."""
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=6,
    )
    tower = randomised(CLIPVisionModelWithProjection(config), seed=2)
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, generator=generator) * 0.3

    adapter = {}
    for block in range(4):
        adapter |= {
            f"{block}.fn.0.weight": random(32, 16),
            f"{block}.fn.0.bias": random(32),
            f"{block}.fn.3.weight": random(16, 32),
            f"{block}.fn.3.bias": random(16),
            f"{block}.ln.weight": random(16),
            f"{block}.ln.bias": random(16),
        }
    adapter |= {"4.weight": random(16), "4.bias": random(16)}
    adapter |= {"5.weight": random(6, 16), "5.bias": random(6)}
    tensors = {
        **{name: value.clone() for name, value in tower.state_dict().items()},
        **{f"text_adapter.adaptor.{name}": value for name, value in adapter.items()},
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "logit_scale": torch.tensor(2.6),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"model_type": "clip", "projection_dim": 6, "vision_config": config.to_dict()}
    # The published configuration leaves the projection's width to the outer level.
    settings["vision_config"]["projection_dim"] = 512
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


TINY_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="session")
def tiny_clip_pair(tmp_path_factory):
    """A CLIP pair as the hub has them, of 12 dimensions and at most 24 tokens."""
    folder = tmp_path_factory.mktemp("clip-pair")
    vocabulary = save_tokenizer(folder, before="<|startoftext|>", after="<|endoftext|>")
    end = PreTrainedTokenizerFast.from_pretrained(folder).eos_token_id
    config = CLIPConfig(
        text_config={
            **TINY_TOWER,
            "vocab_size": vocabulary,
            "max_position_embeddings": 24,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={**TINY_TOWER, "image_size": 28, "patch_size": 14},
        projection_dim=12,
    )
    randomised(CLIPModel(config), seed=4).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_siglip_pair(tmp_path_factory):
    """A SigLIP pair as the hub has them, of 16 dimensions and at most 24 tokens."""
    folder = tmp_path_factory.mktemp("siglip-pair")
    vocabulary = save_tokenizer(folder, after="</s>")
    config = SiglipConfig(
        text_config={
            **TINY_TOWER,
            "vocab_size": vocabulary,
            "max_position_embeddings": 24,
            "projection_size": 16,
        },
        vision_config={**TINY_TOWER, "image_size": 28, "patch_size": 14},
    )
    randomised(SiglipModel(config), seed=5).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder
