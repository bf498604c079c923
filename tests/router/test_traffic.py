"""What a real Envoy does with the rendered files."""

from pathlib import Path

import pytest

from modelramp.router.render import BETWEEN_PODS, Backend, render_config_map
from tests.router.rig import NAME, NAMESPACE, Rig, eventually, rigged, within_binomial


@pytest.mark.parametrize("percent", [1, 10, 50])
async def test_the_candidate_gets_its_share_of_the_requests(tmp_path: Path, percent: int) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100 - percent, "8": percent})) as rig:
        answers = await rig.shares(4000)
        assert set(answers) <= {"7", "8"}
        assert within_binomial(answers["8"], 4000, percent), answers
        assert rig.upstreams["8"].live == answers["8"]


async def test_a_weight_of_zero_gets_nothing(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        assert await rig.shares(800) == {"7": 800}


async def test_the_shadow_gets_marked_copies_and_the_caller_only_the_live_answer(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        assert await rig.shares(400) == {"7": 400}

        async def all_copied() -> bool:
            return rig.upstreams["8"].copies == 400

        await eventually(all_copied, "400 copies")
        assert rig.upstreams["8"].live == 0
        assert rig.upstreams["7"].copies == 0


async def test_a_share_of_the_requests_is_mirrored(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 10})) as rig:
        await rig.shares(2000)
        await rig.shares(8)
        assert within_binomial(rig.upstreams["8"].copies, 2008, 10)


async def test_a_caller_cannot_pass_for_a_shadow_copy(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        async with rig.session.get(rig.http, headers={"x-modelramp-arm": "shadow"}) as response:
            assert await response.text() == "7"
        assert rig.upstreams["7"].live == 1
        assert rig.upstreams["7"].copies == 0


async def test_what_pods_tell_each_other_is_not_for_callers(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        async with rig.session.post(f"{rig.http}{BETWEEN_PODS}?x=1", data=b"{}") as response:
            assert response.status == 404
        assert rig.upstreams["7"].live == 0
        assert await rig.shares(8) == {"7": 8}


async def test_live_request_and_copy_carry_the_callers_request_id(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        async with rig.session.get(rig.http, headers={"x-request-id": "order-1"}):
            await eventually(lambda: copied(rig), "one copy")
        ids = [rig.upstreams[v].headers[0]["X-Request-ID"] for v in ("7", "8")]
        assert ids == ["order-1", "order-1"]


async def copied(rig: Rig) -> bool:
    """Return whether version 8 got a copy."""
    return rig.upstreams["8"].copies > 0


async def test_a_dead_shadow_harms_no_caller(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        rig.upstreams["8"].delay = 5.0
        assert await rig.shares(400) == {"7": 400}


async def test_a_large_request_is_mirrored_whole(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        async with rig.session.post(rig.http, data=b"x" * 3_000_000) as response:
            assert response.status == 200
        await eventually(lambda: copied(rig), "one copy")
        lengths = {rig.upstreams[v].headers[0].get("Content-Length") for v in ("7", "8")}
        assert lengths == {"3000000"}


async def test_before_the_first_version_the_router_says_so(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({})) as rig:
        async with rig.session.get(rig.http) as response:
            assert (response.status, await response.text()) == (503, "no model version is served yet\n")
        rig.put(rig.data({"7": 100}))
        await rig.settled(rig.data({"7": 100}))
        assert await rig.shares(80) == {"7": 80}


async def test_a_connection_that_the_server_just_closed_costs_no_answer(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        await rig.shares(80)
        total = await rig.statistic("cluster.default_fraud-detector-v7.upstream_cx_total")

        async def renewed() -> bool:
            await rig.ask()
            return await rig.statistic("cluster.default_fraud-detector-v7.upstream_cx_total") > total

        took = await eventually(renewed, "Envoy renews a busy connection before the server's pause ends", 8.0)
        assert took < 5.0


async def test_a_version_whose_name_is_not_known_yet_holds_nobody_up(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: named(rig, {"7": "localhost"}, {"7": 100})) as rig:
        assert await rig.shares(80) == {"7": 80}
        hosts = {"7": "localhost", "8": "localhost", "9": "fraud-detector-v9.default.invalid"}
        data = named(rig, hosts, {"7": 50, "8": 50, "9": 0})
        rig.put(data)
        await rig.settled(data)
        assert set(await rig.shares(80)) == {"7", "8"}


def named(rig: Rig, hosts: dict[str, str], split: dict[str, int]) -> dict[str, str]:
    """Return the ConfigMap of versions that are found by name."""
    backends = [Backend(version, host, rig.upstreams[version].port) for version, host in hosts.items()]
    return render_config_map(NAMESPACE, NAME, backends, stable="7", split=split, mirror={})
