"""Modules as processes: deployments to processes, their environment, folders and ends."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edge_modules import PATIENCE, WAITING, Edge, alive, desired
from manifests import module

from iotedge_lab.edge.agent import left_over
from iotedge_lab.edge.agent.environment import PASSED_ON, RUN_VARIABLE
from iotedge_lab.errors import StateLocked, UsageError

IGNORES_SIGTERM = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready")
    while True:
        time.sleep(60)
"""
CLEAN = """
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: (print("bye"), sys.exit(0)))
    print("ready")
    signal.pause()
"""
EXITS = "import sys\nprint('gone', file=sys.stderr)\nsys.exit({code})\n"


# -- restart policies ----------------------------------------------------------------------------------

RUNS = [
    # exit code, policy, back-offs that were waited for, how it is in the end
    (0, "never", [], "stopped"),
    (3, "never", [], "failed"),
    (0, "on-failure", [], "stopped"),
    (3, "on-failure", [10, 20, 40, 80, 160, *[300] * 15], "failed"),
    (0, "always", [10, 20, 40, 80, 160, *[300] * 15], "failed"),
]


@pytest.mark.parametrize(("code", "policy", "waits", "status"), RUNS)
async def test_a_module_that_exits_at_once(code, policy, waits, status, tmp_path):
    """It is started again as its policy says, with the agent's waits, and given up after 20 restarts."""
    async with Edge(tmp_path, {"a": EXITS.format(code=code)}) as edge:
        await edge.apply(a={"restartPolicy": policy})
        state = await edge.until_status(status)
        assert edge.time.slept == waits
        assert (state.exit_code, state.restarts) == (code, len(waits))
        assert state.description == ("exited with code 0" if code == 0 else "exited with code 3: gone")
        assert edge.output(stream="stderr") == ["gone"] * (len(waits) + 1)
        assert state.pid is None


async def test_what_is_reported_while_it_backs_off(tmp_path):
    """In back-off the exit code, its time and the coming restart are seen; then the restart is counted."""
    async with Edge(tmp_path, {"a": EXITS.format(code=7)}, held=True) as edge:
        await edge.apply(a={})
        await edge.until_status("backoff")
        told = edge.supervisor.reported()["modules"]["a"]
        assert (told["runtimeStatus"], told["exitCode"], told["restartCount"]) == ("backoff", 7, 0)
        assert told["lastExitTimeUtc"].startswith("2023-11-14T22:13:20")
        assert told["lastRestartTimeUtc"] == "0001-01-01T00:00:00Z"
        edge.time.go.set()
        await edge.until(lambda: edge.state().restarts == 2)
        assert edge.supervisor.reported()["modules"]["a"]["lastRestartTimeUtc"].startswith(
            "2023-11-14T22:13:"
        )


async def test_restarts_are_forgotten(tmp_path):
    """Ten minutes after its last exit a running module counts from 0 again, and waits 10 seconds next time."""
    code = """
        import os, signal, sys
        first = not os.path.exists("been")
        open("been", "w").close()
        if first:
            sys.exit(1)
        print("ready")
        signal.pause()
    """
    async with Edge(tmp_path, {"a": code}) as edge:
        await edge.apply(a={})
        await edge.until_status("running")
        await edge.until_output()
        assert edge.state().restarts == 1
        edge.time.clock.advance(580)
        assert edge.state().restarts == 1
        edge.time.clock.advance(30)
        assert edge.state().restarts == 0
        pid = edge.state().pid
        os.kill(pid, signal.SIGKILL)
        await edge.until(lambda: edge.state().pid not in (pid, None))
        assert edge.time.slept == [10, 10]
        assert edge.state().restarts == 1


async def test_stopping_ends_a_back_off(tmp_path):
    """A module that waits for its restart is stopped at once, and not started any more."""
    async with Edge(tmp_path, {"a": EXITS.format(code=1)}, held=True) as edge:
        await edge.apply(a={})
        await edge.until_status("backoff")
        await edge.apply(a={"status": "stopped"})
        assert edge.state().status == "stopped"
        assert len(edge.identities) == 1


async def test_a_new_policy_counts_at_once(tmp_path):
    """What rests is started when its new policy wants it, and what waits rests when its new policy does not."""
    async with Edge(tmp_path, {"a": EXITS.format(code=1)}, held=True) as edge:
        await edge.apply(a={"restartPolicy": "never"})
        await edge.until_status("failed")
        await edge.apply(a={"restartPolicy": "always"})
        await edge.until_status("backoff")
        assert len(edge.identities) == 2
        await edge.apply(a={"restartPolicy": "never"})
        assert (edge.state().status, edge.state().exit_code) == ("failed", 1)
        assert len(edge.identities) == 2


# -- ends ----------------------------------------------------------------------------------------------


async def test_a_module_that_ends_well(tmp_path):
    """SIGTERM lets a module finish what it does; that is a stop, with its exit code."""
    async with Edge(tmp_path, {"a": CLEAN}) as edge:
        await edge.apply(a={})
        await edge.until_output()
        await edge.apply(a={"status": "stopped"})
        assert edge.output() == ["ready", "bye"]
        assert (edge.state().status, edge.state().exit_code) == ("stopped", 0)
        assert edge.state().description == "stopped, exit code 0"


async def test_without_pidfds(tmp_path, monkeypatch):
    """Where the kernel has none, ends are seen as well, asked for or not."""

    def none(_pid):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    async with Edge(tmp_path, {"a": CLEAN, "b": EXITS.format(code=4)}) as edge:
        await edge.apply(a={}, b={"restartPolicy": "never"})
        assert (await edge.until_status("failed", "b")).exit_code == 4
        await edge.until_output()
        await edge.apply(a={"status": "stopped"})
        assert (edge.state().status, edge.state().exit_code) == ("stopped", 0)


async def test_a_module_that_never_exits(tmp_path):
    """Who ignores SIGTERM is killed after the timeout; what it started goes with it."""
    code = IGNORES_SIGTERM.replace(
        'print("ready")',
        "import subprocess, sys\n"
        "    print(subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']).pid)"
        '\n    print("ready")',
    )
    async with Edge(tmp_path, {"a": code}, stop_timeout=0.2) as edge:
        await edge.apply(a={})
        await edge.until_output()
        child, parent = int(edge.output()[0]), edge.state().pid
        assert alive(child)
        assert alive(parent)
        begun = time.monotonic()
        await edge.apply()
        assert 0.2 <= time.monotonic() - begun < 5
        assert edge.supervisor.status() == {}
        assert not alive(parent)
        await gone(child)


async def gone(pid):
    """Wait until a process that is not our child has ended."""
    async with asyncio.timeout(PATIENCE):
        while alive(pid):  # noqa: ASYNC110 - a process that is not our child has no event
            await asyncio.sleep(0.01)


async def test_closing_stops_all_at_once(tmp_path):
    """`close` ends all modules side by side, and tells of none any more."""
    codes = dict.fromkeys("abcd", IGNORES_SIGTERM)
    async with Edge(tmp_path, codes, stop_timeout=0.3) as edge:
        await edge.apply(**{name: {} for name in codes})
        for name in codes:
            await edge.until_output(name)
        pids = [state.pid for state in edge.supervisor.status().values()]
        assert len(set(pids)) == 4
        begun = time.monotonic()
        await edge.supervisor.close()
        assert time.monotonic() - begun < 1.0
        assert not any(alive(pid) for pid in pids)
        assert edge.supervisor.reported()["modules"]["a"]["runtimeStatus"] == "unknown"
        await edge.supervisor.close()


# -- deployments ---------------------------------------------------------------------------------------


async def test_only_what_differs_is_touched(tmp_path):
    """A second deployment restarts what has changed, stops what is gone, and leaves the other processes alone."""
    async with Edge(tmp_path, dict.fromkeys(("same", "other", "gone", "new", "care"), WAITING)) as edge:
        await edge.apply(same={}, other={"env": {"X": {"value": "1"}}}, gone={}, care={})
        before = {name: state.pid for name, state in edge.supervisor.status().items()}
        for name in before:
            await edge.until_output(name)
        status = await edge.apply(
            2, same={}, other={"env": {"X": {"value": "2"}}}, new={}, care={"restartPolicy": "never"}
        )
        after = {name: state.pid for name, state in edge.supervisor.status().items()}
        assert status.code == 200
        assert set(after) == {"same", "other", "new", "care"}
        assert (after["same"], after["care"]) == (before["same"], before["care"])
        assert after["other"] != before["other"]
        assert not alive(before["gone"])
        assert not alive(before["other"])
        assert not (edge.supervisor.folder / "modules" / "gone").exists()
        assert list((edge.supervisor.folder / "logs").glob("gone*")) == []
        assert edge.supervisor.reported()["modules"]["care"]["restartPolicy"] == "never"
        await edge.apply(
            3, same={}, other={"env": {"X": {"value": "2"}}}, new={}, care={"restartPolicy": "never"}
        )
        assert {name: state.pid for name, state in edge.supervisor.status().items()} == after
        assert edge.supervisor.reported()["lastDesiredVersion"] == 3


async def test_startup_order(tmp_path):
    """Modules are started in their order, those without one last, and stopped the other way round."""
    codes = dict.fromkeys(("last", "second", "first"), CLEAN)
    async with Edge(tmp_path, codes) as edge:
        await edge.apply(last={}, second={"startupOrder": 2}, first={"startupOrder": 0})
        assert edge.identities == ["first", "second", "last"]
        assert list(edge.supervisor.status()) == ["first", "second", "last"]
        for name in codes:
            await edge.until_output(name)
        stops = []
        edge.supervisor._tell = lambda: stops.append(
            [name for name, state in edge.supervisor.status().items() if state.status == "stopped"]
        )
        stopped = {"status": "stopped"}
        await edge.apply(
            last=stopped, second={"startupOrder": 2, **stopped}, first={"startupOrder": 0, **stopped}
        )
        seen = [names for names, _ in itertools.groupby(stops)]
        assert seen == [["last"], ["second", "last"], ["first", "second", "last"]]


REFUSED = [
    ({"$version": 5}, 417),
    ({**desired(version=5), "schemaVersion": "9.0"}, 412),
    ({**desired(version=5), "modules": {"a": module(status="dancing")}}, 400),
    ({**desired(version=5), "modules": {"a": 1}}, 400),
]


@pytest.mark.parametrize(("properties", "code"), REFUSED)
async def test_an_invalid_deployment_keeps_what_runs(properties, code, tmp_path):
    """Desired properties that cannot be read are refused with their code and the reason; all goes on."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:
        assert edge.supervisor.reported()["lastDesiredStatus"] == {"code": 406, "description": ""}
        await edge.apply(a={})
        pid = edge.state().pid
        status = await edge.supervisor.apply_desired(properties)
        told = edge.supervisor.reported()
        assert told["lastDesiredStatus"] == {"code": code, "description": status.description}
        assert told["lastDesiredVersion"] == 5
        assert "$" in status.description
        assert told["modules"]["a"]["runtimeStatus"] == "running"
        assert edge.state().pid == pid
        assert alive(pid)


async def test_a_module_that_cannot_be_started(tmp_path):
    """An image that no folder stands for fails alone, says so, and runs once the deployment is mended."""
    async with Edge(tmp_path, {"a": WAITING, "b": WAITING}, held=True) as edge:
        status = await edge.apply(a={}, b={"image": "nothing/like-it:1"})
        assert status.code == 500
        assert (
            "b: cannot be started: No local module stands for the image 'nothing/like-it:1'"
            in status.description
        )
        assert (edge.state("a").status, edge.state("b").status) == ("running", "backoff")
        assert (await edge.apply(2, a={}, b={})).code == 200
        assert edge.state("b").status == "running"


async def test_a_start_that_succeeds_later_mends_the_status(tmp_path):
    """A module whose folder appears during the back-off runs, and the deployment counts as applied."""
    async with Edge(tmp_path, {"a": WAITING}, held=True) as edge:
        main = tmp_path / "modules" / "a" / "main.py"
        main.unlink()
        assert (await edge.apply(a={})).code == 500
        main.write_text(WAITING)
        edge.time.go.set()
        await edge.until_status("running")
        assert edge.supervisor.reported()["lastDesiredStatus"] == {"code": 200, "description": ""}


async def test_an_identity_that_fails_does_not_end_supervision(tmp_path):
    """Whatever `identify` raises, the module fails and the others run."""

    async def identify(spec):
        if spec.name == "a":
            raise RuntimeError("no identity")
        return await Edge.identify(edge, spec)

    edge = Edge(tmp_path, {"a": WAITING, "b": WAITING})
    edge.supervisor._identify = identify
    async with edge:
        status = await edge.apply(a={"restartPolicy": "never"}, b={})
        assert (status.code, edge.state("a").description) == (500, "cannot be started: no identity")
        assert edge.state("b").status == "running"


async def test_a_listener_that_fails_does_not_end_supervision(tmp_path):
    """Whatever `changed` raises, modules are started again."""
    async with Edge(tmp_path, {"a": EXITS.format(code=1)}) as edge:

        def changed():
            edge.news.set()
            raise RuntimeError("no one to tell")

        edge.supervisor._tell = changed
        await edge.apply(a={})
        assert (await edge.until_status("failed")).restarts == 20


def test_a_loop_that_ends_leaves_no_module(tmp_path):
    """A program that ends its loop without closing the supervisor has no process left running."""
    pids = []

    async def careless():
        edge = Edge(tmp_path, {"a": IGNORES_SIGTERM})
        await edge.supervisor.open()
        await edge.apply(a={})
        await edge.until_output()
        pids.append(edge.state().pid)
        return edge

    edge = asyncio.run(careless())
    try:
        assert len(pids) == 1
        assert not alive(pids[0])
    finally:
        edge.supervisor._lock.release()


async def test_an_apply_that_is_cancelled_is_done_nevertheless(tmp_path):
    """Who stops waiting for a deployment leaves no half of it behind."""
    async with Edge(tmp_path, {"a": WAITING, "b": WAITING}) as edge:
        task = asyncio.create_task(edge.apply(a={}, b={"startupOrder": 0}))
        await edge.until(lambda: edge.state("b").status == "running")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await edge.until_status("running")


# -- what a module sees ---------------------------------------------------------------------------------

SHOWS = """
    import json, os, sys
    print(json.dumps({"env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd(), "files": sorted(os.listdir("."))}))
    import iotedge_lab.car
"""


async def shown(edge, name="a"):
    """What a module that runs `SHOWS` saw."""
    await edge.until_status("stopped", name)
    return json.loads(edge.output(name)[-1])


async def test_the_environment(tmp_path, monkeypatch):
    """A module gets the manifest's variables and IOTEDGE_*, and none of the runtime's own: no service key."""
    secrets = {
        "IOTHUB_CONNECTION_STRING": "HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0",
        "EVENTHUB_CONNECTION_STRING": "Endpoint=sb://h;SharedAccessKey=c2VjcmV0",
        "AZURE_CLIENT_SECRET": "c2VjcmV0",
        "SSL_CERT_FILE": "/nowhere",
        "PYTHONPATH": "/nowhere",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    async with Edge(tmp_path, {"a": SHOWS}) as edge:
        await edge.apply(
            a={
                "restartPolicy": "never",
                "env": {"X": {"value": 1}, "IOTEDGE_MODULEID": {"value": "other"}},
                "createOptions": {"Env": ["Y=2", "X=0"]},
            }
        )
        found = (await shown(edge))["env"]
        assert found.pop(RUN_VARIABLE)
        found.pop("LC_CTYPE", None)  # Python's own (PEP 538)
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ and name != "LC_CTYPE"}
        assert "PATH" in passed
        assert found == {
            **passed,
            "X": "1",
            "Y": "2",
            "IOTEDGE_IOTHUBHOSTNAME": "hub.test",
            "IOTEDGE_DEVICEID": "car",
            "IOTEDGE_MODULEID": "a",
            "IOTEDGE_MODULEGENERATIONID": "g1",
            "IOTEDGE_GATEWAYHOSTNAME": "gateway.test",
            "IOTEDGE_WORKLOADURI": "unix:///w.sock",
            "IOTEDGE_APIVERSION": "2020-10-10",
            "IOTEDGE_AUTHSCHEME": "sasToken",
        }
        assert edge.output(stream="stderr") == []


COMMANDS = [
    # create options, exit code, what the module sees as its arguments
    ({}, 0, ["main.py"]),
    ({"Cmd": ["--frames", "30"]}, 0, ["main.py", "--frames", "30"]),
    ({"Cmd": ["python3", "-u", "./main.py", "x"]}, 0, ["./main.py", "x"]),
    ({"Entrypoint": ["python", "main.py"], "Cmd": ["y"]}, 0, ["main.py", "y"]),
    ({"Entrypoint": "/bin/false"}, 1, None),
    ({"Entrypoint": "no-such-program"}, 127, None),
    ({"Entrypoint": "./main.py"}, 126, None),
]


@pytest.mark.parametrize(("options", "code", "arguments"), COMMANDS)
async def test_commands(options, code, arguments, tmp_path):
    """`Cmd` and `Entrypoint` are honoured; a program that cannot be run ends as in a shell."""
    async with Edge(tmp_path, {"a": SHOWS}) as edge:
        await edge.apply(a={"restartPolicy": "never", "createOptions": options})
        state = await edge.until_status("failed" if code else "stopped")
        assert state.exit_code == code
        if arguments:
            assert (await shown(edge))["argv"] == arguments
        elif code > 100:
            assert "cannot be run" in state.description


async def test_the_working_folder(tmp_path):
    """It has the module's files, and links for its mounts to what modules of one edge share."""
    writes = "open('stream/hello', 'w').write('from a')\nopen('own', 'w').close()\n"
    reads = "print(open('in/hello').read())\n"
    async with Edge(tmp_path, {"a": writes, "b": reads}) as edge:
        source = tmp_path / "modules" / "a"
        (source / "stream").mkdir()
        (source / "stream" / "hidden").write_text("")
        (source / "__pycache__").mkdir()
        bind = {"HostConfig": {"Binds": ["/tmp:/app/stream"]}}
        await edge.apply(a={"restartPolicy": "never", "createOptions": bind})
        await edge.until_status("stopped")
        folder = edge.supervisor.folder / "modules" / "a"
        assert sorted(each.name for each in folder.iterdir()) == ["main.py", "own", "stream"]
        assert not (source / "own").exists()
        assert [each.name for each in (folder / "stream").iterdir()] == ["hello"]
        volume = {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/app/in"}]}}
        await edge.apply(b={"restartPolicy": "never", "createOptions": volume})
        await edge.until_status("stopped", "b")
        assert edge.output("b") == ["from a"]
        assert (edge.supervisor.folder / "host" / "tmp" / "hello").read_text() == "from a"
        assert (source / "stream" / "hidden").exists()


async def test_a_mount_on_a_file_is_refused(tmp_path):
    """A mount that a file of the module is in the way of fails that module with a word."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:
        bind = {"HostConfig": {"Binds": ["/tmp:/app/main.py"]}}
        status = await edge.apply(a={"restartPolicy": "never", "createOptions": bind})
        assert status.code == 500
        assert "has a file where a mount is to be: main.py" in status.description


# -- what it tells --------------------------------------------------------------------------------------


async def test_reported_properties(tmp_path):
    """They have the shape of the real agent's, and are pure JSON."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:
        await edge.apply(
            4,
            a={"env": {"X": {"value": "1"}}, "startupOrder": 3, "version": "2"},
        )
        told = json.loads(json.dumps(edge.supervisor.reported()))
        started = "2023-11-14T22:13:20.000000Z"
        never = "0001-01-01T00:00:00Z"
        assert told["modules"] == {
            "a": {
                "runtimeStatus": "running",
                "exitCode": 0,
                "statusDescription": "running",
                "lastStartTimeUtc": started,
                "lastExitTimeUtc": never,
                "lastRestartTimeUtc": never,
                "restartCount": 0,
                "version": "2",
                "status": "running",
                "restartPolicy": "always",
                "startupOrder": 3,
                "imagePullPolicy": "on-create",
                "type": "docker",
                "settings": {"image": "a:1", "createOptions": "{}"},
                "env": {"X": {"value": "1"}},
            }
        }
        agent, hub = told["systemModules"]["edgeAgent"], told["systemModules"]["edgeHub"]
        assert (agent["runtimeStatus"], agent["lastStartTimeUtc"]) == ("running", started)
        assert (hub["runtimeStatus"], hub["status"], hub["restartPolicy"]) == ("unknown", "running", "always")
        edge.supervisor.set_system("edgeHub", edge.supervisor._system["edgeAgent"])
        assert edge.supervisor.reported()["systemModules"]["edgeHub"]["runtimeStatus"] == "running"
        assert (told["lastDesiredVersion"], told["lastDesiredStatus"]["code"]) == (4, 200)
        assert told["runtime"]["platform"]["os"] == "linux"
        assert told["runtime"]["settings"]["minDockerVersion"] == "v1.25"


async def test_whose_process_it_is(tmp_path):
    """A process is told to belong to the module that it, or its parent, is."""
    async with Edge(tmp_path, {"a": WAITING, "b": WAITING}) as edge:
        await edge.apply(a={}, b={"createOptions": {"Env": ["KEY=value"]}})
        assert [edge.supervisor.module_of(edge.state(name).pid) for name in "ab"] == ["a", "b"]
        assert edge.supervisor.module_of(os.getpid()) is None
        assert edge.supervisor.module_of(2**22 + 1) is None
        listing = edge.supervisor.listing()
        assert [each["name"] for each in listing] == ["edgeAgent", "a", "b"]
        assert listing[-1]["status"]["runtimeStatus"] == {"status": "running", "description": "running"}
        assert "value" not in json.dumps(listing)


async def test_restarting_by_hand(tmp_path):
    """`restart` gives a module a new process and counts nothing; what does not run is not restarted."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:
        await edge.apply(a={})
        pid = edge.state().pid
        await edge.supervisor.restart("a")
        assert edge.state().pid not in (pid, None)
        assert (edge.state().restarts, edge.time.slept) == (0, [])
        await edge.apply(a={"status": "stopped"})
        with pytest.raises(UsageError, match="not running"):
            await edge.supervisor.restart("a")
        with pytest.raises(UsageError, match="not found"):
            await edge.supervisor.restart("zebra")


# -- what is left behind ---------------------------------------------------------------------------------


async def test_one_runtime_a_device(tmp_path):
    """A second runtime on one device's folder is refused, and ends nothing of the first."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:
        await edge.apply(a={})
        with pytest.raises(StateLocked, match="one device has one runtime"):
            await Edge(tmp_path, {}).supervisor.open()
        assert alive(edge.state().pid)


RUNTIME = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from edge_modules import Edge

CHILD = '''
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
print(child.pid)
signal.pause()
'''

STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"

async def main():
    async with Edge(Path(sys.argv[2]), {"a": CHILD, "b": STUBBORN}) as edge:
        await edge.apply(a={}, b={})
        while not edge.output("a"):
            await asyncio.sleep(0.01)
        print(edge.state("a").pid, edge.state("b").pid, edge.output("a")[0], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_kill_9_of_the_runtime_leaves_no_module(tmp_path):
    """Modules die with a killed runtime; what they had started outlives it, and ends when the runtime comes again."""
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else waits in this loop
        [sys.executable, "-c", RUNTIME, str(Path(__file__).parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        first, second, child = map(int, process.stdout.readline().split())
        assert all(map(alive, (first, second, child)))
        process.kill()
        process.wait()
        await gone(first)
        await gone(second)
        assert alive(child)
        async with Edge(tmp_path, {}) as edge:
            assert not alive(child)
            assert left_over.read(edge.supervisor.folder) == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_number_that_is_another_process_now(tmp_path):
    """A process that has got the number of one that was noted is not ended."""
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    innocent = subprocess.Popen(command)  # noqa: ASYNC220 - nothing else waits in this loop
    try:
        folder = tmp_path / "state" / "edges" / "car"
        folder.mkdir(parents=True)
        left_over.write(folder, [left_over.Noted("a", innocent.pid, "boot/1", "run")])
        async with Edge(tmp_path, {}):
            assert alive(innocent.pid)
        left_over.write(folder, [left_over.Noted("a", innocent.pid, left_over.began(innocent.pid), "run")])
        async with Edge(tmp_path, {}):
            assert not alive(innocent.pid)
        (folder / left_over.FILE).write_text("{")
        async with Edge(tmp_path, {}):
            pass
    finally:
        innocent.kill()
        innocent.wait()
