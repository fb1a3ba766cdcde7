"""`simulator`: what `iotedgehubdev` does, without containers. `iotedge_lab.simulation` does the work."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import echo_lines, not_empty, service_variable_aside, state_flag, state_option, table
from iotedge_lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.edge.simulator import Output
    from iotedge_lab.lab import Lab
    from iotedge_lab.simulation import Simulator

NOT_RUNNING = 3  # as `status` has it for the hub


@click.group(short_help="Run a module against a simulated edge hub.")
def simulator() -> None:
    """Run one module, or a whole solution, on a simulated edge device: as iotedgehubdev, without containers.

    \b
    One module, which you run yourself, from your editor or a terminal:
      iotedge-lab simulator start -i "input1"
      env $(iotedge-lab simulator modulecred | xargs) python main.py
      iotedge-lab simulator outputs --follow
      iotedge-lab simulator stop

    All modules of a solution: iotedge-lab simulator start -d deployment.template.json
    """  # noqa: D301 - click wants the character itself


@simulator.command(short_help="Say which edge device it acts as.")
@state_option
@click.option(
    "-c",
    "--connection-string",
    metavar="STRING",
    callback=not_empty,
    help="Of the edge device to act as. Default: a device that is made at the local hub, which is started if needed.",
)
@click.option(
    "-g", "--gateway-host", metavar="NAME", help="GatewayHostName; by default a loopback address of its own."
)
def setup(state_dir: Path | None, connection_string: str | None, gateway_host: str | None) -> None:
    """Say which edge device the simulator acts as; 'start' does it by itself for the local hub.

    Put the connection string into double quotes. It is kept in the state folder, readable by you alone.
    """
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.simulation import Simulator, setup_of

    made = Simulator(StateFolder(state_dir).path)
    if connection_string is None:
        _set_up_locally(made, state_dir, gateway_host)
    else:
        made.set_up(setup_of(connection_string, StateFolder(state_dir), gateway_host))
    click.echo("Setup IoT Edge Simulator successfully.")
    if made.is_running:
        click.echo(
            "note: the simulator that runs goes on as it was; it is used from the next start on.", err=True
        )


@simulator.command(short_help="Start it for a module or a solution.")
@state_option
@click.option(
    "-i",
    "--inputs",
    metavar="NAMES",
    help='Single-module mode with these inputs of the module, e.g. "input1,input2". Default: input1.',
)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=53000,
    show_default=True,
    metavar="PORT",
    help="To post at; 0 for any.",
)
@click.option(
    "-d",
    "--deployment",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Solution mode: run all modules of this deployment manifest.",
)
@click.option(
    "--modules",
    "module_folders",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Where modules' folders lie, beside the solution's own and the lab's. May be given several times.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Stay in the foreground and print what the module sends, or the modules' logs; Ctrl-C stops the simulator.",
)
def start(
    *,
    state_dir: Path | None,
    inputs: str | None,
    port: int,
    deployment: Path | None,
    module_folders: Sequence[Path],
    verbose: bool,
) -> None:
    """Start the simulator, in the background unless -v is given.

    Single-module mode: messages are posted to inputs of the module at http://localhost:PORT/api/v1/messages, and
    what it sends is shown by 'simulator outputs'. The hub is needed for the first start alone.

    Solution mode: placeholders of the manifest are replaced by variables, from the shell or the solution's .env.
    """
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.simulation import Simulator, check_inputs

    state = StateFolder(state_dir)
    made = Simulator(state.path, ephemeral=verbose)
    if made.is_running:
        _say_that_it_runs(made, state_dir)
    if inputs is not None and deployment is not None:
        click.echo("Deployment manifest is ignored when inputs are present.")
        deployment = None
    # What is wrong with the command line is said before a hub is started for it.
    names = check_inputs([] if inputs is None else inputs.split(","))
    if deployment is not None:
        _check_manifest(deployment, module_folders)
    setup_before = made.folder.read_setup()
    lab = None
    if setup_before is None or setup_before.local:
        lab = _set_up_locally(made, state_dir, None if setup_before is None else setup_before.gateway)
    try:
        if deployment is not None:
            _start_solution(made, state_dir, lab, deployment, module_folders, verbose=verbose)
        else:
            _start_single(made, state_dir, names, port, verbose=verbose)
    finally:
        if verbose:
            made.close()


def _start_single(
    made: Simulator, state_dir: Path | None, inputs: Sequence[str], port: int, *, verbose: bool
) -> None:
    made.start(*inputs, port=port)
    flag = state_flag(state_dir)
    for line in made.said(f"iotedge-lab simulator modulecred{flag}"):
        shown = line.startswith("        curl")
        click.secho(line, fg="green") if shown else click.echo(line)
    status = made.status()
    if status["trouble"]:
        click.echo(f"note: {status['trouble']} The simulator goes on without the hub.", err=True)
    if not verbose:
        click.echo(f"What the module sends: iotedge-lab simulator outputs{flag} --follow")
        return
    click.echo("What the module sends is printed below; Ctrl-C stops the simulator.\n")
    try:
        for output in made.follow_outputs():
            click.echo(output.line())
        click.echo("The simulator has ended.")
    except KeyboardInterrupt:
        _stop(made)


def _start_solution(
    made: Simulator,
    state_dir: Path | None,
    lab: Lab | None,
    file: Path,
    folders: Sequence[Path],
    *,
    verbose: bool,
) -> None:
    from iotedge_lab.cli.following import follow_device, log_sizes

    before = log_sizes(made.logs)
    manifest = made.start_solution(file, module_folders=folders, registry=lab.rest() if lab else None)
    for note in manifest.notes:
        click.echo(f"note: {note}", err=True)
    if manifest.twins and lab is None:
        names = ", ".join(manifest.twins)
        click.echo(
            f"note: the module twins of {names} are left as they are: the hub is not the lab's.", err=True
        )
    if not verbose:
        click.echo("IoT Edge Simulator has been started in solution mode.")
        flag = state_flag(state_dir)
        click.echo(f"How the modules are: iotedge-lab simulator status{flag}")
        return
    click.echo("IoT Edge Simulator has been started in solution mode. Ctrl-C stops it.\n")
    try:
        follow_device(made.status, made.logs, before, click.echo)
        click.echo("The simulator has ended.")
    except KeyboardInterrupt:
        _stop(made)


@simulator.command(short_help="Print a module's credentials.")
@state_option
@click.option(
    "-m",
    "--modules",
    default="target",
    show_default=True,
    metavar="NAMES",
    callback=not_empty,
    help='Modules to connect as, with vertical bars between them, e.g. "module1|module2".',
)
@click.option(
    "-l", "--local", is_flag=True, help="For programs outside of containers: that is what all are here."
)
@click.option(
    "-o",
    "--output-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the lines into a file.",
)
def modulecred(state_dir: Path | None, modules: str, local: bool, output_file: Path | None) -> None:
    """Print the variables by which the SDK's create_from_edge_environment() connects to the simulator.

    \b
      env $(iotedge-lab simulator modulecred | xargs) python main.py

    The lines hold a key.
    """  # noqa: D301 - click wants the character itself
    del local
    found = _handle(state_dir).modulecred(*(name.strip() for name in modules.split("|")))
    if any(len(value.split()) > 1 for value in found.environment.values()):
        click.echo(
            "note: a path among these has a blank in it, over which `env $(...)` falls: use a state folder without.",
            err=True,
        )
    echo_lines(found.lines())
    if output_file is not None:
        from iotedge_lab.serve import keyfiles

        output_file.absolute().parent.mkdir(parents=True, exist_ok=True)
        keyfiles.write(output_file.absolute(), ("\n".join(found.lines()) + "\n").encode())


@simulator.command(short_help="Print what the module has sent.")
@state_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="Wait until N have come, print them, and end."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="With --count: fail after S seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def outputs(
    *, state_dir: Path | None, follow: bool, count: int | None, timeout: float | None, as_json: bool
) -> None:
    """Print what the module has sent to its outputs since the simulator was started."""
    made = _handle(state_dir)

    def show(output: Output) -> None:
        click.echo(json.dumps(_output_json(output)) if as_json else output.line())

    if count is not None:
        for output in made.wait_for_outputs(count, timeout=timeout or 10.0**9):
            show(output)
        return
    if timeout is not None:
        raise click.UsageError("--timeout goes with --count.")
    found = made.outputs()
    for output in found:
        show(output)
    if follow:
        for output in made.follow_outputs(found[-1].number if found else 0):
            show(output)


@simulator.command(short_help="Say whether it runs.")
@state_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def status(ctx: click.Context, state_dir: Path | None, as_json: bool) -> None:
    """Say whether the simulator runs, and how its module or modules are.

    Exit status: 0 it runs; 3 it does not; 1 its process is there and does not answer.
    """
    made = _handle(state_dir)
    if not made.is_running:
        click.echo(json.dumps({"running": False}) if as_json else "simulator  not running")
        ctx.exit(NOT_RUNNING)
    found = made.status()
    if as_json:
        click.echo(json.dumps({"running": True, **found}))
        return
    if found["mode"] == "solution":
        from iotedge_lab.edges import EdgeStatus

        click.echo(f"solution {found['source']}")
        click.echo(repr(EdgeStatus(found)))
        return
    hub = "connected" if found["hubReached"] else "not connected"
    rows = [
        ("simulator", f"running, as the edge device {found['device']}"),
        ("hub", f"{found['hub']} ({hub})"),
        ("gateway", str(found["gateway"])),
        ("inputs", ", ".join(found["inputs"])),
        ("post to", made.url),
        ("module", "connected" if found["module"]["connected"] else "not connected"),
        ("posted", f"{found['posted']} ({found['waiting']} waiting)"),
        ("outputs", f"{found['outputs']}"),
    ]
    if found["unrouted"]:
        rows.append(("to no output", f"{found['unrouted']} (send_message_to_output sends to one)"))
    echo_lines(table(rows))


@simulator.command(short_help="Print what a solution's module wrote.")
@state_option
@click.argument("module", callback=not_empty)
@click.option(
    "--tail", type=click.IntRange(min=0), default=100, show_default=True, metavar="N", help="Last N lines."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def logs(state_dir: Path | None, module: str, tail: int, follow: bool) -> None:
    """Print what a module of a solution has written."""
    from iotedge_lab.cli.edge import show_log

    made = _handle(state_dir)
    status = made.status()
    if status["mode"] != "solution":
        raise UsageError("In single-module mode you run the module yourself, and see what it writes there.")
    names = [str(each["name"]) for each in status["modules"]]
    if module not in names:
        raise UsageError(f"The solution has no module {module!r}; it has {', '.join(names) or 'none'}.")
    show_log(made.logs / f"{module}.log", tail, follow=follow)


@simulator.command(short_help="Stop it.")
@state_option
def stop(state_dir: Path | None) -> None:
    """Stop the simulator, and the modules of a solution. Stopping one that does not run is no error."""
    _stop(_handle(state_dir))


def _stop(made: Simulator) -> None:
    if made.stop():
        click.echo("IoT Edge Simulator has been stopped successfully.")
    else:
        click.echo("no simulator runs")


def _handle(state_dir: Path | None) -> Simulator:
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.simulation import Simulator

    return Simulator(StateFolder(state_dir).path)


def _set_up_locally(made: Simulator, state_dir: Path | None, gateway: str | None) -> Lab:
    """Act as a device of the local hub, which is started where it does not run."""
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.lab import Lab
    from iotedge_lab.simulation import local_setup

    state = StateFolder(state_dir)
    ran = state.locked()
    with service_variable_aside():
        lab = Lab.open(state.path)
    if not ran:
        click.echo(
            f"The local hub is started: {lab.hostname} ('iotedge-lab down{state_flag(state_dir)}' stops it).",
            err=True,
        )
    made.set_up(local_setup(lab, state, gateway=gateway))
    return lab


def _check_manifest(file: Path, folders: Sequence[Path]) -> None:
    """Raise what is wrong with a manifest before anything is started for it."""
    from iotedge_lab.solution import check_images, find_module_folders, read_manifest

    check_images(read_manifest(file), [*folders, *find_module_folders(file)])


def _say_that_it_runs(made: Simulator, state_dir: Path | None) -> None:
    try:
        found = made.status()
        what = (
            f"for one module with the inputs {', '.join(found['inputs'])}"
            if found["mode"] == "single"
            else f"with the solution {found['source']}"
        )
    except LabError as error:
        raise UsageError(str(error)) from error
    raise UsageError(
        f"The simulator runs already, {what}. Stop it first: 'iotedge-lab simulator stop{state_flag(state_dir)}'."
    )


def _output_json(output: Output) -> dict[str, object]:
    data = output.data
    encoding = "base64" if isinstance(data, bytes) else "text" if isinstance(data, str) else "json"
    if isinstance(data, str) and output.text != data:
        encoding = "json"  # a JSON text: it came with its quotes
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(output.time)) + "Z"
    return {
        "number": output.number,
        "time": when,
        "output": output.output,
        "body": output.text if isinstance(data, bytes) else data,
        "bodyEncoding": encoding,
        "properties": output.properties,
        "systemProperties": output.system,
    }
