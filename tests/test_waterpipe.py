import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from lib import waterpipe as wp
from lib.waterpipe import Pipe

PPR = Pipe(20.0, 0.025, 0.0035)
FLOW = 8 / 60000


def run(pipe, T, steps, flow=FLOW, T_in=50.0, T_amb=15.0):
    dt = pipe.length / len(T) / pipe.speed(flow)
    return wp.advect(T, pipe, flow, steps * dt, T_in, T_amb)


def test_prototype_pipes_have_the_known_constants():
    # to the digits that an independent prototype printed
    rows = [
        (Pipe(1.0, 0.020, 0.0028), 0.163, 0.503, 31.0),
        (PPR, 0.254, 0.613, 39.8),
        (Pipe(1.0, 0.025, 0.0035, 0.009), 0.254, 0.285, 85.4),
        (Pipe(1.0, 0.025, 0.0035, 0.020), 0.254, 0.196, 124.4),
    ]
    for pipe, litres, U, tau in rows:
        found = (1000 * pipe.volume_per_m, pipe.U, pipe.tau / 60)
        np.testing.assert_allclose(found, (litres, U, tau), rtol=2e-3)
        assert round(pipe.retardation, 2) == 1.39


def test_a_pipe_without_wall_moves_the_front_with_the_water():
    bare = Pipe(20.0, 0.018, 0.0)
    assert math.isclose(bare.retardation, 1)
    assert math.isclose(bare.speed(FLOW), FLOW / bare.volume_per_m)
    assert math.isclose(bare.U, 9 * math.pi * 0.018)  # only the outer film resists


def test_filled_pipe_is_the_stationary_profile():
    T = run(PPR, np.full(50, 15.0), 50)
    x = (np.arange(50) + 0.5) * PPR.length / 50
    exact = 15 + 35 * np.exp(-PPR.U * x / (wp.RHO_C * FLOW))
    np.testing.assert_allclose(T, exact, rtol=1e-12)  # the scheme is exact: rounding only


def test_many_small_steps_equal_one_large_step():
    T = one = np.linspace(40, 20, 30)
    for _ in range(45):
        one = run(PPR, one, 1)
    np.testing.assert_allclose(one, run(PPR, T, 45), rtol=1e-12)
    np.testing.assert_array_equal(run(PPR, T, 0), T)


def test_energy_balance_closes_while_a_pipe_is_filled():
    n, T = 400, np.linspace(30, 20, 400)
    dt = PPR.length / n / PPR.speed(FLOW)
    dx = PPR.length / n
    stored, entered, left, lost = T.sum(), 0.0, 0.0, 0.0
    for _ in range(300):
        decay = math.exp(-dt / PPR.tau)
        left += wp.leaving(T[None] - 15, decay, np.array([35.0]))[0, 0] + 15
        new = wp.advect(T, PPR, FLOW, dt, 50.0, 15.0)
        lost += PPR.U * dx * dt * ((T + new) / 2 - 15).sum()
        entered, T = entered + 50.0, new
    balance = PPR.C * dx * (entered - left - (T.sum() - stored)) - lost
    # trapezoid in time and midpoint at the ends: errors of order dx
    assert abs(balance) < 2e-2 * lost


def test_parity_with_an_integrated_method_of_lines():
    n, T0 = 800, np.full(800, 15.0)
    v, dx = PPR.speed(FLOW), PPR.length / 800

    def slope(_, T):
        return -v / dx * np.diff(T, prepend=50.0) - (T - 15) / PPR.tau

    end = 0.5 * PPR.length / v
    upwind = solve_ivp(slope, (0, end), T0, rtol=1e-6, atol=1e-6).y[:, -1]
    exact = run(PPR, T0, n // 2)
    away = np.abs((np.arange(n) + 0.5) * dx - PPR.length / 2) > 2.0  # upwind smears the front to σ = √(dx·10 m)
    np.testing.assert_allclose(upwind[away], exact[away], atol=0.03)
    assert abs(upwind.sum() - exact.sum()) / (exact - 15).sum() < 2e-3  # but keeps its heat


def test_upkeep_is_what_refilling_costs():
    hot, cold = 35.0, 23.0
    period = PPR.tau * math.log(hot / cold)
    power = PPR.C * PPR.length * (hot - cold) / period
    assert math.isclose(wp.upkeep(PPR, 50, 38, 15), power)
    assert PPR.U * PPR.length * cold < power < PPR.U * PPR.length * hot


def test_waits_of_the_prototype():
    waits = [wp.wait_time(Pipe(L, 0.025, 0.0035), FLOW) for L in (10, 20, 30)]
    np.testing.assert_allclose(waits, [26.5, 53.0, 79.5], atol=0.05)


def arrival(pipe, limit=38.0, **film):
    times, T = wp.slow_wall(pipe, FLOW, 50.0, 15.0, 150, **film)
    return times[np.argmax(limit <= T)], T[-1]


def test_wait_with_a_slow_wall_lies_between_water_alone_and_one_temperature():
    water, one = wp.wait_time(PPR, FLOW) / PPR.retardation, wp.wait_time(PPR, FLOW)
    slow = arrival(PPR)[0]
    assert 1.05 * water < slow < 0.95 * one
    # a film and a wall that resist (nearly) nothing bring one temperature back, up to smearing by the cells
    metal = Pipe(20.0, 0.025, 0.0035, k_wall=24.0)
    assert abs(arrival(metal, h_in=1e5)[0] / one - 1) < 0.05
    blocked = arrival(PPR, limit=32.5, h_in=1.0)[0]
    assert abs(blocked / water - 1) < 0.02


def test_slow_wall_converges_and_ends_at_the_stationary_outlet():
    coarse, fine = arrival(PPR, layers=12)[0], arrival(PPR, n=400, layers=30)[0]
    assert abs(coarse / fine - 1) < 0.01
    T = wp.slow_wall(PPR, FLOW, 50.0, 15.0, 1200)[1]
    # the resistances add up to 1/U, so the far end settles where the one-temperature model does
    steady = 15 + 35 * math.exp(-PPR.U * PPR.length / (wp.RHO_C * FLOW))
    assert abs(T[-1] - steady) < 0.01


def test_crossflow_agrees_with_bisection_and_the_prototype():
    def bisect(kt, crack):
        low, high = 0.0, 2.5
        for _ in range(80):
            dp = (low + high) / 2
            q = 12 * dp**0.5 + 7 * max(dp - crack, 0) ** 0.5
            low, high = (dp, high) if q < kt * (2.5 - dp) ** 0.5 else (low, dp)
        return 12 * low**0.5, 7 * max(low - crack, 0) ** 0.5

    prototype = {3: (1.5, 0.7, 0.0), 6: (3.2, 2.8, 1.6), 10: (5.1, 4.8, 4.1)}
    for kt, row in prototype.items():
        for crack, hot in zip((0.02, 0.1, 0.3), row, strict=True):
            got = wp.crossflow(2.5, 12, 7, kt, crack)
            np.testing.assert_allclose(got, bisect(kt, crack), rtol=1e-9, atol=1e-9)
            assert abs(got[1] - hot) <= 0.051  # printed to one digit
    assert wp.crossflow(2.5, 12, 0, 6, 0.0)[1] == 0
    assert math.isclose(np.divide(*wp.crossflow(2.5, 12, 7, 6, 0.0)), 12 / 7)


@pytest.mark.parametrize("bad", [{"wall": 0.0125}, {"length": 0.0}, {"insulation": -1e-3}, {"h": math.inf}])
def test_impossible_pipes_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        Pipe(**{"length": 20.0, "do": 0.025, "wall": 0.0035, **bad})


def test_bad_runs_are_refused():
    with pytest.raises(ValueError, match="whole cells"):
        run(PPR, np.full(20, 15.0), 0.5)
    with pytest.raises(ValueError, match="T_hot > T_set > T_amb"):
        wp.upkeep(PPR, 50, 55, 15)
    with pytest.raises(ValueError, match="wall"):
        wp.slow_wall(Pipe(20.0, 0.018, 0.0), FLOW, 50.0, 15.0, 9.0)
    with pytest.raises(ValueError, match="flow"):
        wp.wait_time(PPR, 0.0)
