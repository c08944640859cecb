import math

import numpy as np
import pytest

from lib.hotwater import Home, Pipe, advect, simulate, strategies, upkeep, wait_time

HOME = Home()
OTHERS = [
    Home(hot_m=12, return_m=9, do_mm=20, wall_mm=2.8, insulation_mm=9, flow_lpm=6, hot_c=55, use_c=40, air_c=20,
         mains_c=8, draws_h=(6.5, 7.0, 18.0, 20.0, 22.0, 22.2), use_min=8),
    Home(hot_m=35, return_m=30, insulation_mm=20, flow_lpm=12, air_c=5, mains_c=5, draws_h=(8.0, 20.0), lead_min=3,
         timer_h=((7, 9),)),
]  # fmt: skip


def day(name, home=HOME, **kwargs):
    return simulate(strategies(home)[name], home, **kwargs)


def naive(home, pumps, n=10):
    """One tap, cell by cell and step by step: heat lost at rest and down the drain, litres, waits of the second day."""
    pipe, dt = home.pipe, home.pipe.length / n / home.pipe.speed(home.flow)
    hot = np.full(n, float(home.air_c))
    back = np.full(n, float(home.air_c))
    cell, clock = pipe.C * pipe.length / n, 0.0

    def wall(seconds):
        nonlocal hot, back, clock
        lost = 0.0
        for T in (hot, back):
            cooled = home.air_c + (T - home.air_c) * math.exp(-seconds / pipe.tau)
            lost += cell * (T - cooled).sum()
            T[:] = cooled
        clock += seconds
        return lost

    for d in range(2):
        lost, drained, waits, start_of_use_loss = 0.0, 0.0, [], 0.0
        litres = 0.0
        for at in home.draws_h:
            due = d * 86400 + 3600 * at - (60 * home.lead_min if pumps else 0)
            lost += wall(max(due - clock, 0))
            steps = 0
            while hot[-1] < home.use_c:
                out, before = hot[-1], hot.sum() + (back.sum() if pumps else 0)
                hot = advect(hot, pipe, home.flow, dt, home.hot_c, home.air_c)
                if pumps:
                    leaving = back[-1]
                    back = advect(back, pipe, home.flow, dt, out, home.air_c)
                    after, out = hot.sum() + back.sum(), leaving
                else:
                    after = hot.sum()
                    drained += cell * (out - home.mains_c)
                    litres += 1000 * home.flow * dt
                lost += cell * (before + home.hot_c - out - after)
                steps += 1
                clock += dt
            waits.append(0.0 if pumps else steps * dt)
            if pumps:
                lost += wall(max(due + 60 * home.lead_min - clock, 0))
            for _ in range(math.ceil(60 * home.use_min / dt)):
                hot = advect(hot, pipe, home.flow, dt, home.hot_c, home.air_c)
                start_of_use_loss += cell * (back - home.air_c).sum() * (1 - math.exp(-dt / pipe.tau))
                back = home.air_c + (back - home.air_c) * math.exp(-dt / pipe.tau)
                clock += dt
    return (lost + drained + start_of_use_loss) / 3.6e6, litres, waits


@pytest.mark.parametrize("home", [HOME, OTHERS[0]])
def test_energy_balance_of_draining_closes(home):
    # An independent step-by-step walk adds up what the air and the drain take; over equal days this is all the heat.
    heat, litres, waits = naive(home, pumps=False)
    result = day("drain", home, cells=10)
    np.testing.assert_allclose(result.water_l[0], litres, rtol=1e-9)
    np.testing.assert_allclose(result.waits[0], waits, rtol=1e-9)
    np.testing.assert_allclose(result.heat_kwh[0], heat, rtol=0.01)  # water leaving in a step cools by half a step


@pytest.mark.parametrize("hot_c", [45, 60])
def test_round_the_clock_the_valve_leaves_the_share_of_the_closed_form(hot_c):
    # with one draw the thermostat alone decides; (1 + q)/2 neglects the losses of the run
    home = Home(hot_c=hot_c, draws_h=(12.0,))
    q = (home.use_c - home.air_c) / (hot_c - home.air_c)
    share = day("loop24_valve", home).heat_kwh / day("loop24", home).heat_kwh
    np.testing.assert_allclose(share, (1 + q) / 2, rtol=0.03)


def test_energy_balance_of_circulating_closes():
    heat, _, _ = naive(HOME, pumps=True)
    np.testing.assert_allclose(day("demand_valve", cells=10).heat_kwh[0], heat, rtol=0.01)


def test_heat_of_draining_and_circulating_in_closed_form():
    # Days apart: all is cold before each draw. Draining pays from the mains, circulating from the air.
    home = Home(draws_h=(7.0,), air_c=20, mains_c=5, lead_min=0)
    kwh = home.pipe.C * home.hot_m / 3.6e6
    np.testing.assert_allclose(day("drain", home).heat_kwh, kwh * (50 - 5), rtol=2e-3)
    np.testing.assert_allclose(day("demand_valve", home).heat_kwh, kwh * (50 - 20), rtol=0.02)  # losses of the run


def test_round_the_clock_agrees_with_the_closed_form():
    both = Pipe(40.0, 0.025, 0.0035)
    closed = 24 * upkeep(both, 50, 38, 15) / 1000
    np.testing.assert_allclose(day("loop24").heat_kwh, closed, rtol=0.05)


@pytest.mark.parametrize("home", [HOME, *OTHERS])
def test_laws_hold_in_any_home(home):
    results = {name: day(name, home) for name in strategies(home)}
    wait = wait_time(home.pipe, home.flow)
    for name, r in results.items():
        assert np.all(r.waits >= 0) and np.all(r.waits <= wait * (1 + 1e-9)), name
        assert np.all(r.heat_kwh > 0)
        assert set(r.yuan(home)) == {"water", "gas", "pump"}
    assert results["drain"].pump_h[0] == 0
    np.testing.assert_allclose(results["drain"].water_l, 1000 * home.flow * results["drain"].waits.sum(axis=1))
    heat = {name: r.heat_kwh[0] for name, r in results.items()}
    assert heat["demand_valve"] < heat["demand"] < heat["timer"] < heat["loop24"]
    assert heat["demand_valve"] < heat["loop24_valve"] < heat["loop24"]
    for name in ("loop24", "loop24_valve"):
        np.testing.assert_allclose(results[name].waits, 0)


def test_heat_does_not_depend_on_the_number_of_cells():
    for name in strategies(HOME):
        coarse, fine = (day(name, cells=n).heat_kwh[0] for n in (20, 160))
        assert abs(coarse / fine - 1) < 0.02, name


def test_rows_are_independent_and_missing_draws_cost_nothing():
    hours = np.array([[7.0, 19.0, 23.0], [6.0, 12.0, 23.0]])
    minutes = np.array([[5.0, 5.0, 0.0], [3.0, 8.0, 0.0]])
    climate = {"air_c": np.array([15.0, 20.0]), "mains_c": np.array([5.0, 15.0])}
    for name in strategies(HOME):
        both = day(name, draws_h=hours, use_min=minutes, **climate)
        rows = [slice(i, i + 1) for i in range(2)]
        for i in rows:
            alone = day(
                name, draws_h=hours[i], use_min=minutes[i], air_c=climate["air_c"][i], mains_c=climate["mains_c"][i]
            )
            np.testing.assert_allclose(both.heat_kwh[i], alone.heat_kwh, rtol=1e-12)
        assert not both.waits[:, 2].any()
    short = day("demand_valve", draws_h=hours[:1, :2], use_min=minutes[:1, :2])
    padded = day("demand_valve", draws_h=hours[:1], use_min=minutes[:1])
    np.testing.assert_allclose(short.pump_h, padded.pump_h)


def test_a_draw_right_after_another_does_not_wait():
    home = Home(draws_h=(7.0, 7.05), lead_min=1)  # the first takes five minutes, until 7.083
    for name in strategies(home):
        assert day(name, home).waits[0, 1] == 0, name


def test_a_late_button_waits_for_the_rest_of_the_front():
    home = Home(lead_min=0.5)
    np.testing.assert_allclose(day("demand_valve", home).waits, wait_time(home.pipe, home.flow) - 30)


@pytest.mark.parametrize(
    "bad",
    [{"draws_h": ()}, {"draws_h": (8.0, 7.0)}, {"timer_h": ((8.0, 7.0),)}, {"use_c": 14}, {"hot_c": 38.0},
     {"flow_lpm": 0.5}, {"efficiency": 0}, {"do_mm": -1}, {"hot_m": 0}, {"hot_c": math.inf}, {"hot_c": 130.0},
     {"efficiency": 90}, {"use_min": 2000.0}, {"wall_mm": 15}, {"air_c": math.nan}, {"mains_c": -300.0}],
)  # fmt: skip
def test_homes_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        Home(**bad)


def test_bad_days_are_refused():
    with pytest.raises(ValueError, match="in order"):
        day("drain", draws_h=np.array([[8.0, 7.0]]))
    with pytest.raises(ValueError, match="below use_c"):
        day("drain", air_c=np.array([45.0]))
