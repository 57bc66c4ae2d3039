"""The recipes of the manual that sign a token, run by PHP, Node and Python: a real gateway accepts their tokens."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from processes import DEADLINE
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from restartable import RestartableGateway

EXAMPLES = Path(__file__).parents[2] / "examples" / "browser"
CLAIMS = {
    "sub": "zoë/7",
    "tenant_id": "acme",
    "role": "supervisor",
    "queues": ["Lager & Co", "支持"],
    "name": 'Zoë "Z" </b>',
}
PHP = """require $argv[1];
echo callcenter_token(trim(file_get_contents($argv[2])), json_decode($argv[3], true));"""
NODE = """import { readFileSync } from "node:fs";
const [recipe, secret, claims] = process.argv.slice(1);
const { callcenterToken } = await import(recipe);
process.stdout.write(callcenterToken(readFileSync(secret, "utf8").trim(), JSON.parse(claims)));"""
PYTHON = """import json, runpy, sys
recipe, secret, claims = sys.argv[1:]
sign = runpy.run_path(recipe)["callcenter_token"]
print(sign(open(secret, "rb").read().strip(), json.loads(claims)), end="")"""
COMMANDS = {
    "php": ["php", "-d", "display_errors=stderr", "-r", PHP, "--", "sign.php"],
    "node": ["node", "--input-type=module", "-e", NODE, "--", "sign.mjs"],
    "python": [sys.executable, "-c", PYTHON, "sign.py"],
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestartableGateway]:
    made = RestartableGateway(tmp_path_factory.mktemp("gateway"))
    made.start()
    yield made
    made.end()
    assert "Traceback" not in made.log, made.log


def signed(language: str, secret: Path, claims: dict[str, Any]) -> str:
    """Return the token that a recipe signs."""
    *command, recipe = COMMANDS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    outcome = subprocess.run(
        [*command, str(EXAMPLES / recipe), str(secret), json.dumps(claims)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    return outcome.stdout


def first_message(gateway: RestartableGateway, token: str) -> dict[str, Any]:
    """Return what the gateway sends first to a client with a token."""
    protocols = ["callcenter.v1", f"bearer.{token}"]
    with connect(f"ws://127.0.0.1:{gateway.port}/ws", subprotocols=protocols, open_timeout=DEADLINE) as socket:
        message: dict[str, Any] = json.loads(socket.recv(timeout=DEADLINE))
        return message


@pytest.mark.parametrize("language", COMMANDS)
def test_a_token_of_the_recipe_is_accepted(language: str, gateway: RestartableGateway, tmp_path: Path) -> None:
    secret = gateway.folder / "secret"
    # Secrets in files usually end with a newline.
    (tmp_path / "secret").write_text(secret.read_text() + "\n")
    before = int(time.time())
    token = signed(language, tmp_path / "secret", CLAIMS)
    message = first_message(gateway, token)
    assert (message["type"], message["tenant_id"]) == ("welcome", "acme")
    assert (message["payload"]["user_id"], message["payload"]["role"]) == (CLAIMS["sub"], "supervisor")
    claims = jwt.decode(token, secret.read_text(), ["HS256"])
    assert {**claims, **CLAIMS} == claims
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 600
    assert len(claims["jti"]) >= 32
    assert claims["jti"] != jwt.decode(signed(language, secret, CLAIMS), secret.read_text(), ["HS256"])["jti"]


@pytest.mark.parametrize("language", COMMANDS)
def test_a_token_of_another_secret_is_refused(language: str, gateway: RestartableGateway, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("another secret of at least thirty-two bytes")
    message = first_message(gateway, signed(language, tmp_path / "secret", CLAIMS))
    assert (message["type"], message["payload"]["code"]) == ("error", "unauthorized")
