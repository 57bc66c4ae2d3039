"""Secrets that systemd hands over: paths that begin with $CREDENTIALS_DIRECTORY/."""

from __future__ import annotations

from pathlib import Path

import pytest
import tls_material

from callcenter_ws.config.load import load
from callcenter_ws.runtime.setting_problems import ConfigError


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """The folder of the credentials; the colon must be escaped in endpoints."""
    folder = tmp_path / "credentials:callcenter-ws.service"
    folder.mkdir()
    (folder / "jwt.secret").write_text("0123456789" * 4)
    (folder / "jwt.secret").chmod(0o440)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings" / "callcenter-ws.toml"
    path.parent.mkdir()
    path.write_text('[jwt]\nsecret_file = "$CREDENTIALS_DIRECTORY/jwt.secret"\n')
    return path


def test_a_secret_of_systemd(file: Path, credentials: Path) -> None:
    settings = load(file, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert settings.jwt.secret_file == credentials / "jwt.secret"
    assert settings.warnings == ()


@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": ""}])
def test_a_process_that_systemd_has_not_started(file: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as failed:
        load(file, environ=environ)
    (problem,) = failed.value.problems
    assert problem.key == "jwt.secret_file"
    assert "$CREDENTIALS_DIRECTORY is not set, because systemd has not started this process" in problem.reason
    assert "CREDENTIALS_DIRECTORY=/run/credentials/callcenter-ws.service" in problem.reason


def test_a_credential_that_the_unit_does_not_load(file: Path, credentials: Path) -> None:
    (credentials / "jwt.secret").unlink()
    with pytest.raises(ConfigError) as failed:
        load(file, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
    (problem,) = failed.value.problems
    assert f"looked in {credentials}" in problem.reason


def test_a_list_of_files(file: Path, credentials: Path) -> None:
    file.write_text('[jwt]\nalgorithms = ["ES256"]\npublic_key_files = ["$CREDENTIALS_DIRECTORY/certificate.pem"]\n')
    certificate, _ = tls_material.make_certificate(credentials)
    assert load(file, environ={"CREDENTIALS_DIRECTORY": str(credentials)}).jwt.public_key_files == (certificate,)
    with pytest.raises(ConfigError):
        load(file)


def test_an_endpoint(file: Path, credentials: Path) -> None:
    certificate, key = tls_material.make_certificate(credentials)
    file.write_text(
        '[web]\nlisten = ["ssl:443:privateKey=$CREDENTIALS_DIRECTORY/key.pem'
        ':certKey=$CREDENTIALS_DIRECTORY/certificate.pem"]\n'
    )
    (endpoint,) = load(file, environ={"CREDENTIALS_DIRECTORY": str(credentials)}, demo=True).web.listen
    assert (endpoint.private_key_file, endpoint.certificate_file) == (key, certificate)
    with pytest.raises(ConfigError, match="is not set"):
        load(file, demo=True)


def test_the_name_within_a_path_means_nothing(file: Path) -> None:
    file.write_text('[jwt]\nsecret_file = "x$CREDENTIALS_DIRECTORY/jwt.secret"\n')
    with pytest.raises(ConfigError, match="looked in"):
        load(file, environ={"CREDENTIALS_DIRECTORY": "/run"})
