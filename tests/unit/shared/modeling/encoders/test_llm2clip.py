"""LLM2CLIP on tiny checkpoints of the published layout, against the equations written out."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection, LlamaModel

from shared.errors import UnavailableError
from shared.modeling.encoders.llm2clip import left_padded, load_bidirectional_llama
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder

SHORT = "red shoes"
LONG = "a table lamp of brass for the morning in the park, running and jogging"


@pytest.fixture(scope="module")
def text_encoder(tiny_clip, tiny_llm):
    return load_text_encoder(f"llm2clip:{tiny_clip},{tiny_llm}", "cpu")


def states_by_hand(llm, ids):
    """[T, D]: eager attention under a mask of zeros, which hides nothing."""
    model = LlamaModel.from_pretrained(llm, attn_implementation="eager").eval()
    nothing_hidden = torch.zeros(1, 1, len(ids), len(ids))
    with torch.no_grad():
        return model(torch.tensor([ids]), attention_mask=nothing_hidden).last_hidden_state[0]


def adapter_by_hand(clip, x):
    """[D] to [6]: the adapter's equations on the checkpoint's tensors."""
    tensors = load_file(clip / "model.safetensors")

    def of(name):
        return tensors[f"text_adapter.adaptor.{name}"]

    def normed(x, name):
        return F.layer_norm(x, x.shape, of(f"{name}.weight"), of(f"{name}.bias"))

    x = x / x.norm()
    for block in range(4):
        h = of(f"{block}.fn.0.weight") @ normed(x, f"{block}.ln") + of(f"{block}.fn.0.bias")
        h = F.gelu(h)
        x = x + of(f"{block}.fn.3.weight") @ h + of(f"{block}.fn.3.bias")
    x = of("5.weight") @ normed(x, "4") + of("5.bias")
    return x / x.norm()


def test_a_text_is_read_as_a_users_turn_and_pooled_without_the_header(
    text_encoder, tiny_clip, tiny_llm
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    header = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    body = tokenizer(f"{LONG}<|eot_id|>", add_special_tokens=False)["input_ids"]
    ids = tokenizer(header, add_special_tokens=False)["input_ids"] + body
    pooled = states_by_hand(tiny_llm, ids)[-len(body) :].mean(0)
    torch.testing.assert_close(
        text_encoder.encode([LONG])[0], adapter_by_hand(tiny_clip, pooled), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("padding", [0, 3])
def test_every_token_sees_the_tokens_after_it(tiny_llm, padding):
    model = load_bidirectional_llama(tiny_llm)
    ids = torch.randint(10, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    ids[1] = ids[0]
    ids[1, -1] += 1
    seen = torch.ones_like(ids)
    seen[:, :padding] = 0
    with torch.no_grad():
        states = model(ids, attention_mask=seen).last_hidden_state
    assert (states[0, padding] - states[1, padding]).abs().max() > 1e-3


def test_the_padding_of_a_batch_does_not_change_the_vectors(text_encoder):
    together = text_encoder.encode([SHORT, LONG, "lamp"])
    alone = torch.cat([text_encoder.encode([text]) for text in (SHORT, LONG, "lamp")])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_vectors_have_the_adapters_dimension_and_norm_1(text_encoder):
    vectors = text_encoder.encode([SHORT, LONG, ""])
    assert vectors.shape == (3, text_encoder.dimension) == (3, 6)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert text_encoder.encode([]).shape == (0, 6)


def test_a_text_above_the_limit_is_cut_at_its_end(text_encoder):
    word = " jogging"
    long, longer = word * 600, word * 700
    torch.testing.assert_close(
        text_encoder.encode([long]), text_encoder.encode([longer]), atol=0, rtol=0
    )
    assert not torch.equal(text_encoder.encode([word * 200]), text_encoder.encode([long]))


def test_padding_is_on_the_left_and_the_header_is_not_pooled():
    ids, seen, pooled = left_padded([7, 8], [[1, 2, 3], [4]])
    assert ids.tolist() == [[7, 8, 1, 2, 3], [0, 0, 7, 8, 4]]
    assert seen.tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert pooled.tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]


def test_keys_under_the_prefix_of_a_causal_model_load_too(tiny_clip, tiny_llm, tmp_path):
    shutil.copytree(tiny_llm, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tiny_llm / "model.safetensors")
    save_file(
        {f"model.{name}": value for name, value in tensors.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    one = load_text_encoder(f"llm2clip:{tiny_clip},{tiny_llm}", "cpu")
    other = load_text_encoder(f"llm2clip:{tiny_clip},{tmp_path}", "cpu")
    torch.testing.assert_close(one.encode([LONG]), other.encode([LONG]))


def test_a_checkpoint_of_half_precision_gives_nearly_the_same(tiny_clip, tiny_llm, tmp_path):
    shutil.copytree(tiny_llm, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tiny_llm / "model.safetensors")
    save_file(
        {name: value.bfloat16() for name, value in tensors.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    settings = json.loads((tmp_path / "config.json").read_text()) | {"dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert load_bidirectional_llama(tmp_path).dtype == torch.bfloat16
    half = load_text_encoder(f"llm2clip:{tiny_clip},{tmp_path}", "cpu").encode([SHORT, LONG])
    full = load_text_encoder(f"llm2clip:{tiny_clip},{tiny_llm}", "cpu").encode([SHORT, LONG])
    assert half.dtype == torch.float32
    assert ((half * full).sum(1) > 0.98).all()


def test_images_go_through_the_tower_and_its_projection(tiny_clip, circle, grid):
    encoder = load_image_encoder(f"llm2clip:{tiny_clip}", "cpu")
    images = [circle("red"), grid("blue", size=(90, 400))]
    config = CLIPVisionConfig.from_pretrained(tiny_clip)
    config.projection_dim = 6
    tower = CLIPVisionModelWithProjection.from_pretrained(tiny_clip, config=config).eval()
    # OpenAI's statistics of CLIP, on the scale 0 to 1.
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    pixels = torch.stack([(encoder.prepare(image) / 255 - mean) / std for image in images])
    with torch.no_grad():
        expected = F.normalize(tower(pixel_values=pixels).image_embeds, dim=-1)
    assert pixels.shape == (2, 3, 28, 28)
    assert encoder.dimension == 6
    torch.testing.assert_close(encoder.encode(images), expected, atol=1e-5, rtol=0)


def test_the_two_sides_name_their_states_differently(text_encoder, tiny_clip):
    image_encoder = load_image_encoder(f"llm2clip:{tiny_clip}", "cpu")
    assert text_encoder.revision.startswith("llm2clip-text-")
    assert image_encoder.revision.startswith("llm2clip-image-")


def without(folder, target, prefix):
    """A copy of the checkpoint that lacks the tensors whose names start so."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    kept = {
        name: value
        for name, value in load_file(folder / "model.safetensors").items()
        if not name.startswith(prefix)
    }
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("prefix", ["text_adapter.", "text_adapter.adaptor.2.ln"])
def test_a_checkpoint_without_the_whole_adapter_is_refused(tiny_clip, tiny_llm, tmp_path, prefix):
    broken = without(tiny_clip, tmp_path, prefix)
    with pytest.raises(UnavailableError, match=r"adapter|do not fit"):
        load_text_encoder(f"llm2clip:{broken},{tiny_llm}", "cpu")


@pytest.mark.parametrize("prefix", ["visual_projection", "vision_model.post_layernorm"])
def test_a_checkpoint_without_the_whole_tower_is_refused(tiny_clip, tmp_path, prefix):
    broken = without(tiny_clip, tmp_path, prefix)
    with pytest.raises(UnavailableError, match=r"vision tower|do not fit"):
        load_image_encoder(f"llm2clip:{broken}", "cpu")


def test_a_language_model_that_lacks_weights_is_refused(tiny_clip, tiny_llm, tmp_path):
    broken = without(tiny_llm, tmp_path, "layers.1.mlp")
    with pytest.raises(UnavailableError, match="do not fit"):
        load_text_encoder(f"llm2clip:{tiny_clip},{broken}", "cpu")
