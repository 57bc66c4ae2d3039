"""The npm package of the browser client: what it holds, and a project that installs, runs and checks it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients/js"
TSC = CLIENT / "node_modules/typescript/bin/tsc"
TIMEOUT_SECONDS = 300

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or not TSC.exists(),
    reason="node is not installed, or `npm ci` was not run in clients/js",
)

PROGRAM = """
import { CLOSE_NAMES, Client, RequestRefused, Store, TokenRefused, connect } from "callcenter-ws-client";
import * as bundle from "callcenter-ws-client/bundle";
import { CommandRefused, commandsOf } from "callcenter-ws-client/commands";
import { embed } from "callcenter-ws-client/embed";

const names = Object.keys({ CLOSE_NAMES, Client, RequestRefused, Store, TokenRefused, connect }).sort();
if (Object.keys(bundle).sort().join() !== names.join()) throw new Error(Object.keys(bundle).join());
if (CLOSE_NAMES[4503] !== "revoked" || bundle.CLOSE_NAMES[4503] !== "revoked") throw new Error("CLOSE_NAMES");
for (const { connect: open, TokenRefused: Refused } of [{ connect, TokenRefused }, bundle]) {
  const client = open("wss://gateway.example/ws", { token: () => { throw new Refused("signed out here"); } });
  const status = await new Promise((done) => client.on("status", (one) => one.state === "stopped" && done(one)));
  if (status.reason.text !== "signed out here") throw new Error(JSON.stringify(status));
}
if (typeof embed !== "function") throw new Error("embed");
const closed = connect("wss://gateway.example/ws", { token: () => "t" });
const commands = commandsOf(closed);
const refused = commands.send("call.hangup", { call_id: "17" });
closed.close();
const error = await refused.catch((reason) => reason);
if (!(error instanceof CommandRefused) || error.code !== "stopped") throw error;
"""

TYPES = """
import { connect, type EventMessage, type Events, type Queue, type Status } from "callcenter-ws-client";
import { connect as bundled } from "callcenter-ws-client/bundle";
import { commandsOf, type Outcome } from "callcenter-ws-client/commands";

type IsAny<T> = 0 extends 1 & T ? true : false;
type Heard = Parameters<Parameters<typeof client.on<"event">>[1]>[0];

const client = connect("wss://gateway.example/ws", {
  token: async ({ reason, signal }) => `${reason}${signal.aborted}`,
});
export const same: typeof client = bundled("wss://gateway.example/ws", { token: () => "t" });
export const isEventAny: IsAny<Heard> = false;
export const isFigureAny: IsAny<NonNullable<Queue["figures"]>> = false;
export const every: EventMessage["type"][] = [] as (keyof Events)[];

client.on("event", (message) => {
  const seq: number = message.seq;
  message.acknowledge?.();
  // @ts-expect-error: events of other types have no caller
  message.payload.caller_id.toString();
  if (message.type === "call.incoming") {
    const caller: string | number = message.payload.caller_id;
    // @ts-expect-error: it is not a number only
    const wrong: number = message.payload.caller_id;
    console.log(caller, wrong, seq);
  }
  // @ts-expect-error: there is no such type
  if (message.type === "call.nothing") console.log(message);
});
client.on("status", (status: Status) => {
  // @ts-expect-error: there is no such state
  if (status.state === "asleep") console.log(status.reason?.text);
});
// @ts-expect-error: there is no such name
client.on("nothing", () => {});
client.watch((store) => store.queue("sales"), (queue: Queue | undefined) => console.log(queue?.figures?.calls_waiting));
export const figures: Events["queue.stats"][] = client.store.figures("queue.stats");
export const answer: Promise<{ lines: number }> = client.request<{ lines: number }>("ping");
export const unknown: Promise<Record<string, unknown>> = client.request("ping");
export const outcome: Promise<Outcome> = commandsOf(client).send("call.hangup", { call_id: "17" });
export const reasons: string[] | undefined = commandsOf(client).offered?.pause_reasons;
"""


def run(folder: Path, *command: str) -> str:
    outcome = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive that ``npm publish`` would send."""
    folder = tmp_path_factory.mktemp("package")
    run(CLIENT, "npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", str(folder))
    (found,) = folder.glob("*.tgz")
    return found


@pytest.fixture(scope="module")
def project(archive: Path) -> Path:
    """Return a project that has installed the package and nothing else."""
    folder = archive.parent / "project"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": "project", "private": True, "type": "module"}))
    run(folder, "npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", str(archive))
    return folder


def test_the_package_holds_what_its_users_need_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name.removeprefix("package/") for name in opened.getnames()}
    expected = {"LICENSE", "README.md", "package.json"}
    for folder, pattern in (("dist", "*.js"), ("src", "*.js"), ("types", "*.d.ts")):
        expected |= {f"{folder}/{path.name}" for path in (CLIENT / folder).glob(pattern)}
    assert names == expected
    # Each module has its declarations, and no declarations are left of modules that are gone.
    modules = {path.stem for path in (CLIENT / "src").glob("*.js")}
    assert {path.name.removesuffix(".d.ts") for path in (CLIENT / "types").glob("*")} == modules | {"events"}


def test_a_project_installs_the_package_without_others_and_runs_it(project: Path) -> None:
    installed = [path.name for path in (project / "node_modules").iterdir() if not path.name.startswith(".")]
    assert installed == ["callcenter-ws-client"]
    (project / "program.js").write_text(PROGRAM)
    run(project, "node", "program.js")


@pytest.mark.parametrize(("module", "resolution"), [("nodenext", "nodenext"), ("esnext", "bundler")])
def test_a_project_checks_its_types(project: Path, module: str, resolution: str) -> None:
    (project / "program.ts").write_text(TYPES)
    options = ("--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")
    run(project, "node", str(TSC), *options, "--module", module, "--moduleResolution", resolution, "program.ts")
