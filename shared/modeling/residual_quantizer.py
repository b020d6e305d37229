"""Residual quantization: L codebooks, each coding what the ones before it left over (Eq. 2).

r_0 = z;   SID^l = argmin_j ||r_{l-1} - CE^l_j||^2;   r_l = r_{l-1} - CE^l_{SID^l}
quantized z = CE^1_{SID^1} + ... + CE^L_{SID^L}
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.quantizer_config import Gradient

LARGEST_CODEBOOK = 256
SMALLEST_CODEBOOK = 4
ITEMS_PER_CODE = 8
K_MEANS_VECTORS_PER_CODE = 16
SMALLEST = 1e-200
SHORTEST = 1e-12


@dataclass(frozen=True)
class Quantization:
    """What one pass through the codebooks gives for n vectors.

    codes: [n, L]. residuals: [n, L, D], r_0 .. r_{L-1}, with the gradient of z alone.
    code_embeddings: [n, L, D], the chosen codes, with the gradient of the codebooks alone.
    quantized: [n, D], the sum of the codes; its gradient goes to z alone (`Gradient`).
    """

    codes: Tensor
    residuals: Tensor
    code_embeddings: Tensor
    quantized: Tensor


class ResidualQuantizer(nn.Module):
    """`levels` codebooks of `size` codes of `dimension`; `codebooks` is [L, S, D].

    gradient: how that of the quantized vectors reaches z. The levels are passed as one: what is
    decoded is their sum, and a gradient a level would reach z L times.
    """

    def __init__(
        self, levels: int, size: int, dimension: int, gradient: Gradient = "straight_through"
    ) -> None:
        super().__init__()
        self.gradient = gradient
        self.codebooks = nn.Parameter(torch.randn(levels, size, dimension) / dimension**0.5)

    def forward(self, z: Tensor, balance: "Balance | None" = None) -> Quantization:
        """Quantize z [n, D]. With `balance` the codes of the last level are assigned evenly."""
        last = len(self.codebooks) - 1
        codes, residuals, chosen = [], [], []
        residual = z
        for level, codebook in enumerate(self.codebooks):
            distances = squared_distances(residual.detach(), codebook.detach())
            if balance is not None and level == last:
                code = balanced_assignment(distances, balance)
            else:
                code = distances.argmin(dim=1)
            embedding = codebook[code]
            codes.append(code)
            residuals.append(residual)
            chosen.append(embedding)
            residual = residual - embedding.detach()
        code_embeddings = torch.stack(chosen, dim=1)
        total = code_embeddings.sum(dim=1)
        return Quantization(
            codes=torch.stack(codes, dim=1),
            residuals=torch.stack(residuals, dim=1),
            code_embeddings=code_embeddings,
            quantized=rotated(z, total) if self.gradient == "rotation" else straight(z, total),
        )

    def decode(self, codes: Tensor) -> Tensor:
        """codes [n, L] -> quantized vectors [n, D].

        Raises InvalidInputError when the codes have another number of levels or are out of range.
        """
        levels, size, _ = self.codebooks.shape
        if codes.ndim != 2 or codes.shape[1] != levels:
            raise InvalidInputError.of("codes", f"must be [n, {levels}], not {tuple(codes.shape)}")
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
            raise InvalidInputError.of("codes", f"must be in 0..{size - 1}")
        return self.codebooks[torch.arange(levels, device=codes.device), codes].sum(dim=1)

    @torch.no_grad()
    def initialise(self, z: Tensor, iterations: int) -> None:
        """Set each codebook to the k-means centres of the residuals of the levels before it.

        Of very many vectors z [n, D] a random sample is enough.
        """
        sample = K_MEANS_VECTORS_PER_CODE * self.codebooks.shape[1]
        residual = z.detach()[torch.randperm(len(z))[:sample]]
        for level in range(len(self.codebooks)):
            residual = self.initialise_level(level, residual, iterations)

    @torch.no_grad()
    def initialise_level(self, level: int, residual: Tensor, iterations: int) -> Tensor:
        """Set one codebook to the k-means centres of residual [n, D]; what they leave of it."""
        codebook = self.codebooks[level]
        codebook.copy_(k_means(residual, len(codebook), iterations))
        return residual - codebook[squared_distances(residual, codebook).argmin(dim=1)]

    @torch.no_grad()
    def revive_dead_codes(self, z: Tensor) -> int:
        """Move every code that none of z [n, D] is assigned to onto a residual; how many were dead.

        The residuals are drawn with probability proportional to their squared distance to the
        code they have now: where the codebook is worst, it gets new codes.
        """
        revived = 0
        residual = z.detach()
        for codebook in self.codebooks:
            distance, code = distances_and_codes(residual, codebook)
            dead = torch.bincount(code, minlength=len(codebook)) == 0
            places = min(int(dead.sum()), len(residual))
            if places:
                drawn = torch.multinomial(distance + 1e-12, places)
                codebook[dead.nonzero().squeeze(1)[:places]] = residual[drawn]
                code = squared_distances(residual, codebook).argmin(dim=1)
            revived += int(dead.sum())
            residual = residual - codebook[code]
        return revived


def straight(z: Tensor, quantized: Tensor) -> Tensor:
    """The values of `quantized` [n, D]; its gradient goes to z [n, D] as it is (Sec. 3.1)."""
    return z + (quantized - z).detach()


def rotated(z: Tensor, quantized: Tensor) -> Tensor:
    """The values of `quantized` q [n, D]; its gradient reaches z [n, D] turned by the angle between
    them and scaled by the ratio of their lengths (the rotation trick, arXiv:2410.06424).

    q = (|q| / |z|) R z, R = I - 2 r r^T + 2 q' z'^T held constant, where z' and q' have length 1
    and r = (z' + q') / |z' + q'|. Without a direction, where z or q is 0, straight through.
    """
    with torch.no_grad():
        length, quantized_length = z.norm(dim=1, keepdim=True), quantized.norm(dim=1, keepdim=True)
        directed = torch.minimum(length, quantized_length) > SHORTEST
        from_unit = F.normalize(z, dim=1, eps=SHORTEST)
        to_unit = F.normalize(quantized, dim=1, eps=SHORTEST)
        middle = F.normalize(from_unit + to_unit, dim=1, eps=SHORTEST)
        ratio = torch.where(directed, quantized_length / length.clamp(min=SHORTEST), 1.0)
    along_middle = (z * middle).sum(dim=1, keepdim=True) * middle
    along_z = (z * from_unit).sum(dim=1, keepdim=True) * to_unit
    turned = ratio * (z - 2 * along_middle + 2 * along_z)
    return straight(torch.where(directed, turned, z), quantized)


@dataclass(frozen=True)
class Balance:
    """Sinkhorn-Knopp: the smaller epsilon, the nearer to the cheapest even assignment."""

    epsilon: float = 0.003
    iterations: int = 30


def squared_distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    """[n, S] squared Euclidean distances of vectors [n, D] to codes [S, D]."""
    norms = vectors.square().sum(dim=1, keepdim=True)
    return (norms - 2 * vectors @ codebook.T + codebook.square().sum(dim=1)).clamp(min=0)


def distances_and_codes(vectors: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The squared distance [n] to the nearest code, and which one it is [n]."""
    distance, code = squared_distances(vectors, codebook).min(dim=1)
    return distance, code


def balanced_assignment(distances: Tensor, balance: Balance) -> Tensor:
    """[n] codes from distances [n, S] such that every code gets about n / S of the vectors.

    The transport plan with uniform marginals, entropy-regularised by epsilon times the range of
    the distances; each vector takes the code that most of its mass goes to.
    """
    distances = distances.double()
    spread = (distances.max() - distances.min()).clamp(min=1e-12)
    scaled = (distances - distances.min(dim=1, keepdim=True).values) / spread
    kernel = torch.exp(-scaled / balance.epsilon)
    to_codes = torch.ones(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
    for _ in range(balance.iterations):
        from_vectors = 1 / (kernel @ to_codes).clamp(min=SMALLEST)
        to_codes = 1 / (from_vectors @ kernel).clamp(min=SMALLEST)
    return (kernel * to_codes).argmax(dim=1)


def k_means(vectors: Tensor, size: int, iterations: int) -> Tensor:
    """[size, D] centres of vectors [n, D] by Lloyd's algorithm with even clusters.

    Starts from random members; every cluster keeps about n / size vectors. Left free, one centre
    near the mean takes nearly all of them: residuals in many dimensions are all about as far from
    one another, and the mean is nearer than any. With fewer vectors than centres, the vectors are
    repeated with a little noise.
    """
    n = len(vectors)
    if n <= size:
        repeated = vectors[torch.arange(size, device=vectors.device) % n]
        return repeated + 1e-3 * vectors.std(correction=0) * torch.randn_like(repeated)
    centres = vectors[torch.randperm(n, device=vectors.device)[:size]]
    for _ in range(iterations):
        code = balanced_assignment(squared_distances(vectors, centres), Balance())
        sums = torch.zeros_like(centres).index_add_(0, code, vectors)
        counts = torch.bincount(code, minlength=size).unsqueeze(1)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def codebook_size_for(number_of_items: int) -> int:
    """A power of two with about eight items a code, between 4 and 256."""
    codes = max(number_of_items // ITEMS_PER_CODE, 1)
    power_of_two = 1 << (codes.bit_length() - 1)
    return min(max(power_of_two, SMALLEST_CODEBOOK), LARGEST_CODEBOOK)


def code_statistics(codes: Tensor, size: int) -> dict[str, list[float] | float]:
    """How well n items use the codebooks; codes: [n, L], size: S.

    usage: share of the S codes in use, a level. dead_codes: number not in use, a level.
    perplexity: exp(entropy of the codes), a level; S when all are used alike.
    collision_rate: share of the items whose whole semantic ID another item has too.
    """
    if codes.ndim != 2 or codes.numel() == 0:
        raise InvalidInputError.of("codes", "must be [n, L] with at least one item")
    counts = torch.stack([torch.bincount(column, minlength=size) for column in codes.T])
    share = counts.double() / len(codes)
    used = (counts > 0).sum(dim=1)
    entropy = -torch.special.xlogy(share, share).sum(dim=1)
    _, sharers = torch.unique(codes, dim=0, return_counts=True)
    return {
        "usage": (used.double() / size).tolist(),
        "dead_codes": (size - used).tolist(),
        "perplexity": entropy.exp().tolist(),
        "collision_rate": float(sharers[sharers > 1].sum()) / len(codes),
    }
