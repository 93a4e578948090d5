"""schemathesis asks a running hub everything that its own description allows, and more."""

import json

import pytest
import schemathesis
from hub_kit import make_hub
from hub_process import PASSWORD, HubProcess, ask, bearer
from hypothesis import HealthCheck, settings
from schemathesis import checks

from drybag_host.hub.app import Hub, make_app
from drybag_host.hub.openapi import description

CHECKS = [
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance,
]  # fmt: skip
schema = schemathesis.openapi.from_dict(description())


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("fuzz") / "hub", "--rate", "100000")
    process.device = bearer(*process.enrol("ada"))
    login = json.dumps({"owner": "ada", "password": PASSWORD})
    answer = json.loads(ask(process.connect(), "POST", "/v1/owner/login", login)[2])
    process.owner = {"Authorization": "Bearer " + answer["token"]}
    yield process
    assert process.process.poll() is None, "the hub went down"
    process.stop()
    log = (process.data.parent / "hub.log").read_text()
    assert "Traceback" not in log, log[-2000:]


def test_it_serves_the_description_it_is_tested_with(hub):
    answer = ask(hub.connect(), "GET", "/openapi.json")
    assert json.loads(answer[2]) == json.loads(json.dumps(description()))


def test_the_description_has_every_address_for_programs():
    """So the fuzzer below misses none. (The owner's pages are for people: test_web.py.)"""
    service, _, _ = make_hub()
    hub = Hub(service)
    served = {
        (method, route.path)
        for route in make_app(hub).router.routes
        if route.path.startswith(("/v1/", "/openapi"))
        for method in route.methods - {"HEAD"}
    }
    hub.close()
    described = {
        (method.upper(), path)
        for path, methods in description()["paths"].items()
        for method in methods
        if method in ("get", "put", "post", "delete", "patch")
    }
    fuzzed = {(op.ok().method.upper(), op.ok().path) for op in schema.get_all_operations()}
    assert served == described == fuzzed and len(served) > 10


@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_endpoint(hub, case):
    security = case.operation.definition.raw.get("security")
    headers = getattr(hub, next(iter(security[0]))) if security else {}
    case.call_and_validate(
        base_url=hub.url, headers=headers, verify=str(hub.data / "tls" / "ca.pem"), checks=CHECKS
    )
