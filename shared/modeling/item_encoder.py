"""From an item's embeddings and semantic IDs to ONE input embedding of the LLM (Eq. 16).

    E_c [64] ---- W_c, b_c --> [D] ---.
    SID_c ------- sum of L codes [D] --|
    E_t, SID_t -- likewise ------------|-- concatenate [2 J D] -- f_MLP --> [D]
    E_v, SID_v -- likewise ------------'

J modalities, those given: a catalogue without images has no visual part. `ItemForm` names the
other inputs of Table 2, which leave some of these parts out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.isometry import centred_isometry, rms_norm
from shared.modeling.modality import Modality

ENCODING_CHUNK = 8192


@dataclass(frozen=True)
class ItemForm:
    """What an item enters the LLM as (Table 2); the default is Eq. 16.

    projected: W_j s_j + b_j. coded: the sums of code embeddings. An embedding table of items is the
    special case of one level with a code an item. joined: by f_MLP, or by adding the parts up,
    which is one linear layer over their concatenation.
    """

    projected: bool = True
    coded: bool = True
    joined: Literal["mlp", "sum"] = "mlp"

    def __post_init__(self) -> None:
        if not (self.projected or self.coded):
            raise InvalidInputError.of("form", "leaves nothing of an item")
        if self.joined not in ("mlp", "sum"):
            raise InvalidInputError.of("form.joined", f"is unknown: {self.joined}")


EQUATION_16 = ItemForm()


class ItemEncoder(nn.Module):
    """Eq. 16 for the modalities given. Trained: W_j, b_j, the code embeddings and f_MLP.

    E_j and the semantic IDs are buffers: no gradient reaches E_j (the paper's SG).
    """

    def __init__(
        self,
        embeddings: Mapping[Modality, Tensor],
        codes: Mapping[Modality, Tensor],
        code_embeddings: Mapping[Modality, Tensor],
        form: ItemForm = EQUATION_16,
    ) -> None:
        """embeddings: E_j [I, D_j]. codes: [I, L] int64. code_embeddings: [L, S, D], D = D_LLM.

        code_embeddings are those of the trained quantizer (Sec. 4.3), or random ones for the
        ablation; they decide D. A form without codes takes L = 0: [I, 0] and [0, S, D].
        Before training call `initialise`.

        Raises InvalidInputError when the modalities or shapes do not agree, or a code is unknown.
        """
        super().__init__()
        _check(embeddings, codes, code_embeddings)
        self.modalities = tuple(modality for modality in Modality if modality in embeddings)
        self.form = form
        self.dimension = next(iter(code_embeddings.values())).shape[2]
        self.projections = nn.ModuleDict()
        self.code_embeddings = nn.ParameterDict()
        for modality in self.modalities:
            table = embeddings[modality].detach().to(torch.get_default_dtype())
            self.register_buffer(f"embeddings_{modality}", table.clone())
            self.register_buffer(f"codes_{modality}", codes[modality].detach().clone())
            self.projections[modality] = nn.Linear(table.shape[1], self.dimension)
            self.code_embeddings[modality] = nn.Parameter(
                code_embeddings[modality].detach().to(torch.get_default_dtype()).clone()
            )
        if form.joined == "mlp":
            parts = (form.projected + form.coded) * len(self.modalities)
            self.widen = nn.Linear(parts * self.dimension, 2 * self.dimension)
            self.narrow = nn.Linear(2 * self.dimension, self.dimension)

    @classmethod
    def around(
        cls,
        state: Mapping[str, Tensor],
        modalities: Sequence[Modality],
        form: ItemForm = EQUATION_16,
    ) -> Self:
        """The encoder of a saved state dict, whose tensors it uses as they lie and does not copy.

        The tables were checked when they were made, and are not read for it again.
        """
        encoder = cls(
            {modality: state[f"embeddings_{modality}"][:1] for modality in modalities},
            {modality: state[f"codes_{modality}"][:1] for modality in modalities},
            {modality: state[f"code_embeddings.{modality}"] for modality in modalities},
            form,
        )
        for name, _ in list(encoder.named_buffers()):
            encoder.register_buffer(name, state[name])
        encoder.load_state_dict(state, assign=True)
        return encoder

    @property
    def number_of_items(self) -> int:
        return len(self.embeddings(self.modalities[0]))

    def initialise(self, *, content_scale: float = 1.0, seed: int = 0) -> "ItemEncoder":
        """Start from what the embeddings know: W_j keep the geometry of E_j, f_MLP adds its parts.

        content_scale: the norm of projected text and images, as a share of that of projected E_c.
        The sums of the code embeddings enter with the norm of their modality's projection: they
        keep their values, f_MLP's first layer rescales them.
        """
        generator = torch.Generator().manual_seed(seed)
        tables = {modality: self.embeddings(modality) for modality in self.modalities}
        scale = _common_scale(tables)
        gains: list[float] = []
        for modality, table in tables.items():
            norm = scale if modality == Modality.COLLABORATIVE else scale * content_scale
            _start_as_isometry(self.projection(modality), table, norm, generator)
            if self.form.projected:
                gains.append(1.0)
            if self.form.coded:
                quantized = self.sum_of_codes(modality, self.codes(modality)).detach()
                gains.append(norm / rms_norm(quantized))
        if self.form.joined == "mlp":
            self._start_as_sum(gains)
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """Input embeddings [..., D] of catalogue items. rows: any shape, int64."""
        return self.encode(
            {modality: self.embeddings(modality)[rows] for modality in self.modalities},
            {modality: self.codes(modality)[rows] for modality in self.modalities},
        )

    def encode(
        self, embeddings: Mapping[Modality, Tensor], codes: Mapping[Modality, Tensor]
    ) -> Tensor:
        """Input embeddings [..., D] of any items, new ones too.

        embeddings: E_j [..., D_j], codes: [..., L] int64, both of every modality of this encoder.

        Raises InvalidInputError when a modality is missing.
        """
        parts: list[Tensor] = []
        for modality in self.modalities:
            if modality not in embeddings or modality not in codes:
                raise InvalidInputError.of(f"embeddings.{modality}", "is missing, with its codes")
            if self.form.projected:
                parts.append(self.project(modality, embeddings[modality]))
            if self.form.coded:
                parts.append(self.sum_of_codes(modality, codes[modality]))
        if self.form.joined == "sum":
            return torch.stack(parts).sum(dim=0)
        return self.f_mlp(torch.cat(parts, dim=-1))

    def table(self) -> Tensor:
        """The input embeddings [I, D] of the whole catalogue, in chunks to bound the memory."""
        rows = torch.arange(self.number_of_items, device=self.embeddings(self.modalities[0]).device)
        return torch.cat([self(chunk) for chunk in torch.split(rows, ENCODING_CHUNK)])

    def projection(self, modality: Modality) -> nn.Linear:
        """W_j and b_j."""
        return cast(nn.Linear, self.projections[modality])

    def project(self, modality: Modality, embeddings: Tensor) -> Tensor:
        """W_j s_j + b_j: [..., D_j] -> [..., D]."""
        projection = self.projection(modality)
        projected: Tensor = projection(embeddings.to(projection.weight.dtype))
        return projected

    def sum_of_codes(self, modality: Modality, codes: Tensor) -> Tensor:
        """Sum over the levels l of E_SID^l: [..., L] -> [..., D]."""
        table = self.code_embeddings[modality]
        levels, size, _ = table.shape
        offsets = torch.arange(levels, device=codes.device) * size
        return F.embedding(codes + offsets, table.flatten(0, 1)).sum(dim=-2)

    def f_mlp(self, parts: Tensor) -> Tensor:
        """[..., 2 J D] -> [..., D]."""
        output: Tensor = self.narrow(F.gelu(self.widen(parts)))
        return output

    def embeddings(self, modality: Modality) -> Tensor:
        """E_j [I, D_j], frozen."""
        return self.get_buffer(f"embeddings_{modality}")

    def codes(self, modality: Modality) -> Tensor:
        """The semantic IDs [I, L]."""
        return self.get_buffer(f"codes_{modality}")

    @torch.no_grad()
    def _start_as_sum(self, gains: Sequence[float]) -> None:
        """gelu(x) - gelu(-x) = x: with [S; -S] and [1, -1] f_MLP starts as a sum of its 2 J parts.

        S = [g_1 1, g_2 1, ...] adds the blocks. From there f_MLP is an ordinary two-layer MLP: a
        fresh one would scramble what E_c and the codes know, and learn it back slowly.
        """
        identity = torch.eye(self.dimension)
        summing = torch.cat([gain * identity for gain in gains], dim=1)
        self.widen.weight.copy_(torch.cat([summing, -summing]))
        self.widen.bias.zero_()
        self.narrow.weight.copy_(torch.cat([identity, -identity], dim=1))
        self.narrow.bias.zero_()


def random_code_embeddings(like: Mapping[Modality, Tensor], *, seed: int) -> dict[Modality, Tensor]:
    """Code embeddings of the same scale with nothing learned in them: the ablation of Sec. 3.2."""
    generator = torch.Generator().manual_seed(seed)
    return {
        modality: torch.randn(table.shape, generator=generator) * table.std()
        for modality, table in like.items()
    }


@torch.no_grad()
def _start_as_isometry(
    projection: nn.Linear, table: Tensor, norm: float, generator: torch.Generator
) -> None:
    weight, bias = centred_isometry(table, projection.out_features, norm, generator)
    projection.weight.copy_(weight)
    projection.bias.copy_(bias)


def _common_scale(tables: Mapping[Modality, Tensor]) -> float:
    """The norm projected embeddings start with: that of E_c, which was trained for dot products."""
    table = tables.get(Modality.COLLABORATIVE)
    if table is None:
        return 1.0
    return rms_norm(table - table.mean(dim=0))


def _check(
    embeddings: Mapping[Modality, Tensor],
    codes: Mapping[Modality, Tensor],
    code_embeddings: Mapping[Modality, Tensor],
) -> None:
    if not embeddings:
        raise InvalidInputError.of("embeddings", "name no modality")
    if set(codes) != set(embeddings) or set(code_embeddings) != set(embeddings):
        raise InvalidInputError.of("codes", f"must be of the modalities {sorted(embeddings)}")
    items = {len(table) for table in embeddings.values()} | {len(rows) for rows in codes.values()}
    if len(items) != 1:
        raise InvalidInputError.of(
            "embeddings", f"disagree on the number of items: {sorted(items)}"
        )
    dimensions = {table.shape[2] for table in code_embeddings.values()}
    if len(dimensions) != 1:
        raise InvalidInputError.of("code_embeddings", f"have the dimensions {sorted(dimensions)}")
    for modality, rows in codes.items():
        levels, size, _ = code_embeddings[modality].shape
        if rows.shape[1] != levels:
            raise InvalidInputError.of(
                f"codes.{modality}", f"have {rows.shape[1]} levels, the code embeddings {levels}"
            )
        if rows.numel() and (int(rows.min()) < 0 or int(rows.max()) >= size):
            raise InvalidInputError.of(f"codes.{modality}", f"go beyond the {size} codes a level")
        if not torch.isfinite(embeddings[modality]).all():
            raise InvalidInputError.of(f"embeddings.{modality}", "hold a value that is not finite")
