"""The hot water of a home, event by event: six ways to avoid the wait at one tap, and their bill.

`Home` takes the units of a household (m, mm, L/min, °C, h, yuan) and says so in the names; inside all is SI. The
physics of the pipe is in `lib.waterpipe`. Axes: b homes or days, n cells along the pipe, k draws of a day.
Post: https://spaces.ac.cn/archives/9405, derived in the article hot-water-recirculation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lib.checks import at_least, checked, positive
from lib.waterpipe import RHO_C, Number, Pipe, advect, crossflow, leaving, shift, upkeep, wait_time

__all__ = [
    "DayResult", "Home", "Pipe", "Strategy", "advect", "crossflow", "simulate", "strategies", "upkeep", "wait_time",
]  # fmt: skip

DAY = 86400.0


@dataclass(frozen=True)
class Home:
    """The numbers of one home, one tap and its return pipe (a copy of the hot pipe); defaults as in the article."""

    hot_m: Number = 20.0
    return_m: Number = 20.0
    do_mm: Number = 25.0
    wall_mm: Number = 3.5
    insulation_mm: Number = 0.0
    flow_lpm: Number = 8.0
    hot_c: Number = 50.0
    use_c: Number = 38.0  # comfortable at the tap; also where a thermostat starts the pump
    air_c: Number = 15.0
    mains_c: Number = 15.0
    draws_h: tuple[Number, ...] = (7.0, 12.5, 19.0, 21.5)
    use_min: Number = 5.0
    lead_min: Number = 1.0  # the button is pressed so long before the tap is opened
    timer_h: tuple[tuple[Number, Number], ...] = ((6.5, 8.0), (18.5, 22.0))
    water_yuan_t: Number = 3.0
    gas_yuan_m3: Number = 3.0
    gas_kwh_m3: Number = 10.0
    efficiency: Number = 0.9
    power_yuan_kwh: Number = 0.6
    pump_w: Number = 50.0

    def __post_init__(self) -> None:
        positive(hot_m=self.hot_m, return_m=self.return_m, do_mm=self.do_mm, wall_mm=self.wall_mm)
        positive(flow_lpm=self.flow_lpm, use_min=self.use_min, gas_kwh_m3=self.gas_kwh_m3, efficiency=self.efficiency)
        at_least(0, insulation_mm=self.insulation_mm, lead_min=self.lead_min, water_yuan_t=self.water_yuan_t)
        at_least(0, gas_yuan_m3=self.gas_yuan_m3, power_yuan_kwh=self.power_yuan_kwh, pump_w=self.pump_w)
        at_least(-50, air_c=self.air_c, mains_c=self.mains_c)
        if not (max(self.air_c, self.mains_c) < self.use_c < self.hot_c <= 100):
            temperatures = f"{self.air_c}, {self.mains_c}, {self.use_c}, {self.hot_c}"
            raise ValueError(f"expected air_c, mains_c < use_c < hot_c <= 100 °C, got {temperatures}")
        if self.efficiency > 10:
            raise ValueError(f"expected efficiency as a fraction (of a heat pump, above 1), got {self.efficiency}")
        if max(self.use_min, self.lead_min) > 1440:
            raise ValueError(f"expected use_min and lead_min within a day, got {self.use_min}, {self.lead_min}")
        try:
            _ = [*self.draws_h], [(a, b) for a, b in self.timer_h]
        except TypeError:
            found = f"{self.draws_h}, {self.timer_h}"
            raise ValueError(f"expected draws_h as (7, 19) or (7,) and timer_h as ((6, 8),), got {found}") from None
        if not self.draws_h or not all(0 <= a < 24 for a in self.draws_h) or sorted(self.draws_h) != [*self.draws_h]:
            raise ValueError(f"expected draws_h in order within a day, got {self.draws_h}")
        if not self.timer_h or not all(0 <= a < b <= 24 for a, b in self.timer_h):
            raise ValueError(f"expected timer_h as (from, to) within a day, got {self.timer_h}")
        lost = self.pipe.U * (self.hot_m + self.return_m) / (RHO_C * self.flow)
        if not self.air_c + (self.hot_c - self.air_c) * math.exp(-lost) > self.use_c:
            raise ValueError(f"hot_c={self.hot_c} cools below use_c on the way round, got use_c={self.use_c}")

    @property
    def pipe(self) -> Pipe:
        """The hot pipe, in m."""
        return Pipe(self.hot_m, self.do_mm / 1000, self.wall_mm / 1000, self.insulation_mm / 1000)

    @property
    def flow(self) -> float:
        """Flow of tap and pump in m³/s."""
        return self.flow_lpm / 60000

    @property
    def heat_yuan_kwh(self) -> float:
        """Price of a kWh of heat; the only place where the efficiency enters."""
        return self.gas_yuan_m3 / (self.gas_kwh_m3 * self.efficiency)


@dataclass(frozen=True)
class Strategy:
    """When the pump may run: in `windows` by thermostat, or `on_demand`; `at_tap`: valve or sensor there stops it.

    Otherwise it stops once the end of the return pipe is warm.
    """

    windows: tuple[tuple[Number, Number], ...] = ()
    on_demand: bool = False
    at_tap: bool = True


def strategies(home: Home) -> dict[str, Strategy]:
    """The six schemes that the article compares."""
    always = ((0.0, 24.0),)
    return {
        "drain": Strategy(),
        "loop24": Strategy(always, at_tap=False),
        "loop24_valve": Strategy(always),
        "timer": Strategy(home.timer_h, at_tap=False),
        "demand": Strategy(on_demand=True, at_tap=False),
        "demand_valve": Strategy(on_demand=True),
    }


@dataclass(frozen=True)
class DayResult:
    """One day: water drained, heat beyond what is drawn at the tap, pump hours (b,), and the wait before each draw."""

    water_l: Float[ndarray, " b"]
    heat_kwh: Float[ndarray, " b"]
    pump_h: Float[ndarray, " b"]
    waits: Float[ndarray, "b k"]

    def yuan(self, home: Home) -> dict[str, Float[ndarray, " b"]]:
        """Cost of the day by kind."""
        return {
            "water": self.water_l / 1000 * home.water_yuan_t,
            "gas": self.heat_kwh * home.heat_yuan_kwh,
            "pump": self.pump_h * home.pump_w / 1000 * home.power_yuan_kwh,
        }


def _next_open(t: Any, windows: tuple[tuple[Number, Number], ...]) -> Any:
    clock, found = t % DAY, np.full(t.shape, np.inf)
    for start, end in windows:
        inside = (clock >= 3600 * start) & (clock < 3600 * end)
        found = np.minimum(found, np.where(inside, t, t + (3600 * start - clock) % DAY))
    return found


@checked
def simulate(
    strategy: Strategy,
    home: Home,
    draws_h: Float[ndarray, "b k"] | None = None,
    use_min: Float[ndarray, "b k"] | None = None,
    air_c: Float[ndarray, " b"] | None = None,
    mains_c: Float[ndarray, " b"] | None = None,
    *,
    cells: int = 40,
) -> DayResult:
    """The second of two equal days, from event to event: exact cooling at rest, `advect` while water moves.

    Left out, the arrays repeat the numbers of `home`. A draw with use_min 0 does not take place. Heat counts what the
    heater supplies beyond the draws: fillings of the pipes before and, where they have cooled, during the use. What
    the pipe loses while the tap runs is the same in all schemes and left out. On demand the pump runs to its end; the
    wait ends when the tap is warm.
    """
    at_least(1, cells=cells)
    start = 3600 * (np.array([home.draws_h], dtype=float) if draws_h is None else draws_h)
    use = np.full(start.shape, 60.0 * home.use_min) if use_min is None else 60 * use_min
    air = np.full(len(start), float(home.air_c)) if air_c is None else air_c
    mains = np.full(len(start), float(home.mains_c)) if mains_c is None else mains_c
    at_least(0, draws_h=start, use_min=use)
    if np.any(np.diff(start) < 0) or start.max() >= DAY or not np.all(home.use_c > np.maximum(air, mains)):
        raise ValueError(f"expected draws in order within a day and air, mains below use_c, got {start / 3600}, {air}")
    loop = _Loop(strategy, home, air, cells)
    pumped, water, heat = (np.zeros(len(start)) for _ in range(3))
    waits = np.zeros(start.shape)
    for day in range(2):
        for total in (pumped, water, heat):
            total[:] = 0
        for j in range(start.shape[1]):
            due, active = day * DAY + start[:, j], use[:, j] > 0
            lead = 60 * home.lead_min if strategy.on_demand else 0
            loop.coast(due - lead, pumped, heat)
            late = np.zeros(len(due))
            if strategy.on_demand:
                late = loop.step * loop.until_warm(loop.n, loop.warm) - np.maximum(due - loop.t, 0)
                loop.pump(active, pumped, heat)
            loop.coast(due, pumped, heat)
            cold = np.where(active, loop.until_warm(loop.n, loop.warm), 0)
            water += 1000 * home.flow * loop.step * cold
            heat += loop.unit * cold * (home.hot_c - mains)  # all of it goes down the drain or stays in the pipe
            waits[:, j] = np.where(active, np.maximum(late, 0) + loop.step * cold, 0)
            loop.flow(cold, loop.n)
            stored = loop.theta[:, : loop.n].sum(axis=1)
            loop.flow(np.where(active, np.ceil(use[:, j] / loop.step), 0).astype(np.int64), loop.n)
            heat += loop.unit * np.where(active, loop.theta[:, : loop.n].sum(axis=1) - stored, 0)
    return DayResult(water, heat / 3.6e6, pumped / 3600, waits)


class _Loop:
    """Hot pipe and return pipe as one row of cells, `theta` above the air, each row at its own time `t`."""

    def __init__(self, strategy: Strategy, home: Home, air: Any, cells: int) -> None:
        pipe, self.n = home.pipe, cells
        self.windows, self.tau = strategy.windows, pipe.tau
        self.step = pipe.length / cells / pipe.speed(home.flow)  # seconds in which the front passes a cell
        self.decay, self.unit = math.exp(-self.step / pipe.tau), pipe.C * pipe.length / cells  # J/K in a cell
        self.hot, self.warm = home.hot_c - air, home.use_c - air
        whole = cells + max(1, round(cells * home.return_m / home.hot_m))
        self.reach = cells if strategy.at_tap else whole  # the pump runs until this cell is warm
        self.theta, self.t = np.zeros((len(air), whole)), np.zeros(len(air))

    def rest(self, seconds: Any) -> None:
        self.theta *= np.exp(-seconds / self.tau)[:, None]
        self.t = self.t + seconds

    def flow(self, steps: Any, reach: int) -> Any:
        """Move the first `reach` cells on and let the others cool; the sum of what left them."""
        out = leaving(self.theta[:, :reach], self.decay, self.hot)
        summed = np.concatenate([np.zeros((len(out), 1)), out[:, :-1].cumsum(axis=1)], axis=1)
        inside = np.minimum(steps, reach)
        left = np.take_along_axis(summed, inside[:, None], axis=1)[:, 0] + (steps - inside) * out[:, -1]
        moved = shift(self.theta[:, :reach], steps, self.decay, self.hot)
        rest = self.theta[:, reach:] * self.decay ** steps[:, None]
        self.theta, self.t = np.concatenate([moved, rest], axis=1), self.t + steps * self.step
        return left

    def until_warm(self, reach: int, limit: Any) -> Any:
        """Steps until what leaves the first `reach` cells is at `limit`, or until all of it is new."""
        out = leaving(self.theta[:, :reach], self.decay, self.hot) >= limit[:, None]
        return np.where(out.any(axis=1), out.argmax(axis=1), reach)

    def pump(self, go: Any, pumped: Any, heat: Any, most: Any = np.inf) -> None:
        """Circulate, where `go`, until the front has passed the end that is watched, `most` seconds at most."""
        end = self.theta[:, self.reach - 1] > self.warm * (1 + 1e-9)
        steps = np.where(go & ~end, self.until_warm(self.reach, (self.hot + self.warm) / 2), 0)
        steps = np.minimum(steps, np.ceil(most / self.step)).astype(np.int64)
        back = self.flow(steps, self.theta.shape[1])
        pumped += steps * self.step
        heat += self.unit * (steps * self.hot - back)

    def coast(self, until: Any, pumped: Any, heat: Any) -> None:
        """Let time pass; within the windows the pump starts whenever the watched end has cooled to `use_c`."""
        while self.windows:
            end = np.maximum(self.theta[:, self.reach - 1], 1e-9)
            start = _next_open(self.t + self.tau * np.log(np.maximum(end / self.warm, 1)), self.windows)
            if not (go := start < until).any():
                break
            self.rest(np.where(go, start - self.t, 0))
            self.pump(go, pumped, heat, np.maximum(until - self.t, 0))  # a draw interrupts it
        self.rest(np.maximum(until - self.t, 0))
