"""Heat in a water pipe: cooling at rest, the moving front, the upkeep of a loop; and the flow through a check valve.

SI units and float64. Water and pipe wall are at one temperature, T(x, t). Axes: b pipes, n cells along the pipe.
Post: https://spaces.ac.cn/archives/9405, derived in the article hot-water-recirculation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from lib.checks import at_least, checked, positive

RHO_C = 990.0 * 4180.0  # heat capacity of warm water, J/(m³ K)
Number = float | int


@dataclass(frozen=True)
class Pipe:
    """A pipe of `length`, outer diameter `do` and `wall` thickness under `insulation`, all in m; default: PPR.

    Conductivities in W/(m K), outer film coefficient `h` in W/(m² K), `rho_c_wall` in J/(m³ K).
    """

    length: Number
    do: Number
    wall: Number
    insulation: Number = 0.0
    k_wall: Number = 0.24
    k_ins: Number = 0.035
    h: Number = 9.0
    rho_c_wall: Number = 910.0 * 1900.0

    def __post_init__(self) -> None:
        positive(length=self.length, do=self.do, k_wall=self.k_wall, k_ins=self.k_ins, h=self.h)
        at_least(0, wall=self.wall, insulation=self.insulation, rho_c_wall=self.rho_c_wall)
        if not 2 * self.wall < self.do:
            raise ValueError(f"expected a wall below half of do={self.do}, got wall={self.wall}")

    @property
    def volume_per_m(self) -> float:
        """Water in m³ per m."""
        return math.pi / 4 * (self.do - 2 * self.wall) ** 2

    @property
    def C(self) -> float:
        """Heat capacity of water and wall in J/(m K)."""
        wall = math.pi / 4 * self.do**2 - self.volume_per_m
        return RHO_C * self.volume_per_m + self.rho_c_wall * wall

    @property
    def U(self) -> float:
        """Heat loss in W/(m K): 1 / (ln(Do/Di)/(2πk) + ln(D2/Do)/(2πk_ins) + 1/(hπD2))."""
        outer = self.do + 2 * self.insulation
        through = math.log(self.do / (self.do - 2 * self.wall)) / self.k_wall + math.log(outer / self.do) / self.k_ins
        return 1 / (through / (2 * math.pi) + 1 / (self.h * math.pi * outer))

    @property
    def tau(self) -> float:
        """Time constant of cooling at rest, C/U in s."""
        return self.C / self.U

    @property
    def retardation(self) -> float:
        """How many times slower than the water the hot front is: C / C_water."""
        return self.C / (RHO_C * self.volume_per_m)

    def speed(self, flow: Number) -> float:
        """Speed of the hot front in m/s, ρ c_p Q / C, at a flow Q in m³/s."""
        positive(flow=flow)
        return RHO_C * flow / self.C


@checked
def shift(
    theta: Float[ndarray, "b n"], cells: Int64[ndarray, " b"], decay: float, inlet: Float[ndarray, " b"]
) -> Float[ndarray, "b n"]:
    """Excess temperatures moved on by `cells`; `decay` per step also cools what enters at `inlet`."""
    at_least(0, cells=cells)
    i = np.arange(theta.shape[-1])
    source = i - cells[:, None]
    old = np.take_along_axis(theta, np.maximum(source, 0), axis=-1) * decay ** cells[:, None]
    return np.where(source >= 0, old, inlet[:, None] * decay ** (i + 0.5))


@checked
def leaving(theta: Float[ndarray, "b n"], decay: float, inlet: Float[ndarray, " b"]) -> Float[ndarray, "b m"]:
    """(b, n + 1): what leaves the pipe in steps 0..n-1 of a flow, and at the end the stationary outlet."""
    n = theta.shape[-1]
    return np.concatenate([theta[:, ::-1] * decay ** (np.arange(n) + 0.5), inlet[:, None] * decay**n], axis=1)


@checked
def advect(
    T: Float[ndarray, " n"], pipe: Pipe, flow: Number, dt: Number, T_in: Number, T_amb: Number
) -> Float[ndarray, " n"]:
    """Temperatures of n equal cells after `dt` s of `flow` m³/s, exactly: move along the characteristics, then cool.

    Solves C T_t + ρ c_p Q T_x = -U (T - T_amb). There is no numerical diffusion because the front must have moved by a
    whole number of cells: dt = j · length / (n speed).
    """
    at_least(0, dt=dt)
    at_least(-273.15, T_in=T_in, T_amb=T_amb)
    moved = pipe.speed(flow) * dt * len(T) / pipe.length
    if abs(moved - round(moved)) > 1e-6 * max(1.0, moved):
        raise ValueError(f"expected dt to move the front by whole cells, got {moved:.6g} cells")
    decay = math.exp(-pipe.length / len(T) / pipe.speed(flow) / pipe.tau)
    return T_amb + shift(T[None] - T_amb, np.array([round(moved)]), decay, np.array([float(T_in - T_amb)]))[0]


def wait_time(pipe: Pipe, flow: Number) -> float:
    """Seconds until the hot front has passed a cold pipe: length · C / (ρ c_p Q)."""
    return pipe.length / pipe.speed(flow)


def slow_wall(
    pipe: Pipe, flow: Number, T_hot: Number, T_cold: Number, seconds: Number, *,
    h_in: Number = 3300.0, n: int = 200, layers: int = 12,
) -> tuple[Float[ndarray, " t"], Float[ndarray, " t"]]:  # fmt: skip
    """(times, outlet temperatures) of a pipe at T_cold while heat takes its time to cross film and wall.

    Plug flow of water at Q / area; in each of `n` cells the water exchanges heat with cylindrical `layers` of the wall,
    by radial conduction, through an inner film of `h_in` W/(m² K) (turbulent flow); outside is air at T_cold.
    """
    positive(flow=flow, seconds=seconds, h_in=h_in, n=n, layers=layers)
    at_least(-273.15, T_hot=T_hot, T_cold=T_cold)
    positive(wall=pipe.wall, rho_c_wall=pipe.rho_c_wall)
    from scipy.linalg import expm

    edges = np.linspace(pipe.do / 2 - pipe.wall, pipe.do / 2, layers + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    heat = np.concatenate([[RHO_C * pipe.volume_per_m], pipe.rho_c_wall * math.pi * np.diff(edges**2)])
    resist = np.log(middle / np.concatenate([edges[:1], middle[:-1]])) / (2 * math.pi * pipe.k_wall)
    resist[0] += 1 / (h_in * 2 * math.pi * edges[0])
    resist = np.append(resist, 1 / pipe.U - resist[0] - resist[1:].sum())  # to the air; what U has left
    A = np.zeros((layers + 1, layers + 1))
    for i, R in enumerate(resist):
        A[i, i] -= 1 / R
        if i < layers:
            A[i, i + 1] += 1 / R
            A[i + 1, i + 1] -= 1 / R
            A[i + 1, i] += 1 / R
    step = pipe.length / n * pipe.volume_per_m / flow
    exchange = expm(A / heat[:, None] * step)
    theta, out = np.zeros((layers + 1, n)), []
    for _ in range(math.ceil(seconds / step)):
        theta[0] = np.concatenate([[T_hot - T_cold], theta[0, :-1]])
        theta = exchange @ theta
        out.append(theta[0, -1])
    return step * np.arange(1, len(out) + 1), T_cold + np.array(out)


def upkeep(pipe: Pipe, T_hot: Number, T_set: Number, T_amb: Number) -> float:
    """Mean W that keep a pipe between T_set and T_hot by refilling: U L times the logarithmic mean of the excesses."""
    if not T_hot > T_set > T_amb:
        raise ValueError(f"expected T_hot > T_set > T_amb, got {T_hot}, {T_set}, {T_amb}")
    return pipe.U * pipe.length * (T_hot - T_set) / math.log((T_hot - T_amb) / (T_set - T_amb))


def crossflow(p0: Number, kc: Number, kh: Number, kt: Number, p_crack: Number) -> tuple[float, float]:
    """(Q_c, Q_h) in L/min to an open cold tap that the cold pipe feeds and, by a check valve, the hot pipe as well.

    Pressure p0 in bar at the inlet; Q = k √Δp with k in L/min/√bar for cold pipe, hot pipe and tap; the check valve
    opens above `p_crack`. Q_c = kc √Δp, Q_h = kh √max(Δp - p_crack, 0), Q_c + Q_h = kt √(p0 - Δp).
    """
    positive(p0=p0, kc=kc, kt=kt)
    at_least(0, kh=kh, p_crack=p_crack)
    from scipy.optimize import brentq

    def flows(dp: float) -> tuple[float, float]:
        return kc * math.sqrt(dp), kh * math.sqrt(max(dp - p_crack, 0))

    return flows(float(brentq(lambda dp: sum(flows(dp)) - kt * math.sqrt(p0 - dp), 0, p0, xtol=1e-14)))  # type: ignore[arg-type]
