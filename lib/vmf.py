"""The von Mises-Fisher law on the unit sphere: reparametrised draws, mean length, distance from the uniform law.

Density ∝ exp(κ⟨z, μ⟩). With w = ⟨z, μ⟩ = cos t the angle has density ∝ e^{κ cos t} sin^{d−2} t, smooth for every
d >= 2, whereas that of w has the factor (1 − w²)^{(d−3)/2}, infinite at the poles for d = 2.

Axes: d dimensions. Posts: https://spaces.ac.cn/archives/8404 and https://spaces.ac.cn/archives/8475; derived in the
article univae.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import at_least, checked, is_opaque


def _scaled_bessel(order: float, kappa: float) -> float:
    """e^−κ I_order(κ); I itself overflows near κ = 700."""
    from scipy.special import ive

    scaled = float(ive(order, kappa))
    if not scaled > 0:
        raise ValueError(f"expected a κ with e^-κ I(κ) neither underflow nor nan at order {order:g}, got kappa={kappa}")
    return scaled


def _law(d: int, kappa: float) -> None:
    if d < 2 or not 0 <= kappa < math.inf:
        raise ValueError(f"expected d >= 2 and a finite kappa >= 0, got {d=}, {kappa=}")


@checked
def mean_resultant(d: int, kappa: float) -> float:
    """A = E⟨z, μ⟩ = I_{d/2}(κ) / I_{d/2−1}(κ), the length of the mean vector."""
    _law(d, kappa)
    return _scaled_bessel(d / 2, kappa) / _scaled_bessel(d / 2 - 1, kappa) if kappa else 0.0


@checked
def kl_to_uniform(d: int, kappa: float) -> float:
    """KL from the uniform law, in nats: κA + (d/2−1) log κ − (d/2) log 2π − log I_{d/2−1}(κ) + log 2π^{d/2}/Γ(d/2).

    It depends on κ and d alone, not on μ.
    """
    _law(d, kappa)
    if kappa == 0:
        return 0.0
    area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    log_c = (d / 2 - 1) * math.log(kappa) - d / 2 * math.log(2 * math.pi) - math.log(_scaled_bessel(d / 2 - 1, kappa))
    return max(0.0, kappa * (mean_resultant(d, kappa) - 1) + log_c + area)


class VonMisesFisher:
    """Draws around unit vectors μ of d dimensions, with the concentration κ >= 0 fixed.

    The angle to μ comes from a table of its inverse distribution function, made once in float64; no draw is rejected.
    """

    def __init__(self, d: int, kappa: float, table: int = 20_001):
        _law(d, kappa)
        at_least(100, table=table)
        self.d, self.kappa = d, kappa
        coarse = torch.linspace(0, math.pi, table, dtype=torch.float64)
        near = coarse[self._log_density(coarse) > -60]  # e^-60 of the mass lies beyond
        if len(near) < 50:
            raise ValueError(f"expected a kappa that {table} angles resolve, got {kappa=} at {d=}")
        self.angle = torch.linspace(float(near.min()), float(near.max()), table, dtype=torch.float64)
        density = self._log_density(self.angle).exp()
        total = torch.cumulative_trapezoid(density, self.angle)
        self.cdf = torch.cat([total.new_zeros(1), total / total[-1]])

    def _log_density(self, angle: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Of the angle, up to a constant that makes its largest entry 0."""
        power = torch.special.xlogy(torch.tensor(self.d - 2.0, dtype=torch.float64), angle.sin().clamp(min=0))
        log = self.kappa * (angle.cos() - 1) + power
        return log - log.max()

    @checked
    def cosine(self, u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """The value of w = ⟨z, μ⟩ below which the share 1 − u of the draws lies."""
        if not is_opaque(u) and not bool(((u >= 0) & (u <= 1)).all()):
            raise ValueError(f"expected shares u in [0, 1], got {float(u.min())}..{float(u.max())}")
        cdf, angle = (x.to(u.device) for x in (self.cdf, self.angle))
        at = torch.searchsorted(cdf, u.double().contiguous()).clamp(1, len(cdf) - 1)
        low, high = cdf[at - 1], cdf[at]
        part = ((u - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
        return torch.lerp(angle[at - 1], angle[at], part).cos().to(u.dtype)

    @checked
    def noise(self, *shape: int, generator: torch.Generator | None = None) -> Float[Tensor, "*b k"]:
        """What `sample` needs and no gradient flows into: w and a normal vector, side by side, k = 1 + d.

        On the device of the generator.
        """
        device = None if generator is None else generator.device
        u = torch.rand(*shape, 1, generator=generator, device=device)
        return torch.cat([self.cosine(u), torch.randn(*shape, self.d, generator=generator, device=device)], -1)

    @checked
    def sample(self, mu: Float[Tensor, "*b d"], noise: Float[Tensor, "*b k"]) -> Float[Tensor, "*b d"]:
        """z = w μ + √(1 − w²) ν with ν the direction of the noise within the plane orthogonal to μ.

        Differentiable in μ, whose rows must have length 1.
        """
        if mu.shape[-1] != self.d or noise.shape[-1] != self.d + 1:
            raise ValueError(f"expected mu with {self.d} channels, noise with one more, got {mu.shape}, {noise.shape}")
        w, normal = noise[..., :1], noise[..., 1:]
        tangent = normal
        for _ in range(2):  # once leaves a part along μ where the noise is nearly parallel to it
            tangent = tangent - (tangent * mu).sum(-1, keepdim=True) * mu
        return w * mu + (1 - w**2).clamp(min=0).sqrt() * torch.nn.functional.normalize(tangent, dim=-1)
