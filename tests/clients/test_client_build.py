"""The browser client: its types are right, its tests pass, the built files are those of the sources, and are small."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sample_events import REQUIRED

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients/js"
SERVED = ROOT / "callcenter_ws/pages/static"
BUNDLE = CLIENT / "dist/callcenter-ws-client.js"
EMBED = CLIENT / "dist/embed.js"
COMMANDS = CLIENT / "dist/callcenter-ws-commands.js"
WIDGET = CLIENT / "dist/callcenter-ws-widget.js"
MAX_BYTES = {BUNDLE: 15_000, EMBED: 1_500, COMMANDS: 2_500, WIDGET: 25_000}
"""Bytes of the compressed bundles, as the manual promises."""

TIMEOUT_SECONDS = 300

SAME_QUEUES = """
import assert from "node:assert";
const today = { offered: 9, answered: 7, abandoned: 2, service_level: 80 };
const payload = { queue: "sales", today, last_30m: { service_level: 75 } };
const figure = { type: "queue.stats", tenant_id: "acme", timestamp: "2026-11-30T00:00:00.000Z", payload };
const queues = [];
for (const path of ["./src/index.js", "./dist/callcenter-ws-client.js"]) {
  const { Store } = await import(path);
  const store = new Store({ now: () => 0 });
  store.load({ epoch: "e", seq: 1, events: [], figures: [figure] });
  queues.push(store.queues());
}
assert.strictEqual(queues[0][0].answered_today, 7);
assert.deepStrictEqual(queues[1], queues[0]);
"""

has_tools = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "node_modules/typescript").exists(),
    reason="node is not installed, or `npm ci` was not run in clients/js",
)


def node(*arguments: str) -> None:
    outcome = subprocess.run(
        ["node", *arguments],
        cwd=CLIENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout


def test_the_gateway_serves_the_bundles_of_the_package() -> None:
    assert (SERVED / "client.js").read_bytes() == BUNDLE.read_bytes()
    assert (SERVED / "embed.js").read_bytes() == EMBED.read_bytes()
    assert (SERVED / "commands.js").read_bytes() == COMMANDS.read_bytes()
    assert (SERVED / "widget.js").read_bytes() == WIDGET.read_bytes()


def test_the_bundles_are_small() -> None:
    for path, limit in MAX_BYTES.items():
        assert len(gzip.compress(path.read_bytes(), 9)) <= limit, path.name


def test_no_arguments_of_an_optional_call_are_spread() -> None:
    """Chromium before 91 fails to do so, and the bundle keeps optional calls as they are."""
    for path in (CLIENT / "src").rglob("*.js"):
        assert re.search(r"\?\.[\w#.]*\(\.\.\.", path.read_text()) is None, path.name


@has_tools
def test_the_types_are_those_of_the_events(tmp_path: Path) -> None:
    """A valid message of each type is accepted, and one without a required field is not."""
    lines = [f'import type {{ Events, Message }} from "{CLIENT}/types/events.js";']
    for number, (name, payload) in enumerate(REQUIRED.items()):
        fields = {**payload, "field_of_a_sender": 1}
        lines.append(f'export const payload{number}: Events["{name}"] = {json.dumps(fields)};')
        head = {"type": name, "tenant_id": "acme", "id": "e", "seq": 1, "timestamp": "2026-11-30T00:00:00.000Z"}
        lines.append(f"export const message{number}: Message = {json.dumps({**head, 'payload': fields})};")
        for missing in payload:
            rest = {field: value for field, value in payload.items() if field != missing}
            lines.append("// @ts-expect-error: a required field is missing")
            lines.append(f'export const without{number}_{missing}: Events["{name}"] = {json.dumps(rest)};')
    (tmp_path / "events.ts").write_text("\n".join(lines))
    options = ("--strict", "--noEmit", "--module", "nodenext", "--target", "es2022")
    node("node_modules/typescript/bin/tsc", *options, str(tmp_path / "events.ts"))


@has_tools
def test_the_built_files_are_those_of_the_sources() -> None:
    """Making the declarations checks the types, too."""
    node("build.mjs", "--check")


@has_tools
def test_the_parts_that_need_no_browser() -> None:
    node("--test", "test/")


@has_tools
def test_no_short_name_of_the_bundle_is_used_elsewhere() -> None:
    """Nothing that the gateway, another tab, the browser or a page knows by name has another one in the bundle."""
    node(str(Path(__file__).with_name("internal_names.mjs")))


@has_tools
def test_the_bundle_reads_figures_as_the_sources_do() -> None:
    node("--input-type=module", "-e", SAME_QUEUES)
