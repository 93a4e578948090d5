"""The hub's OpenAPI description, served at /openapi.json; SPEC.md has the bytes of a sync."""

__all__ = ["description"]

STR, INT, BOOL = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
ERRORS = {
    400: "the request makes no sense", 401: "wrong secret, password or token",
    403: "the owner revoked this device", 404: "not there", 405: "another method is meant",
    408: "too slow", 409: "the blob goes on at `have`", 413: "too large",
    416: "beyond the end of the blob", 422: "the bytes are not that blob",
    426: "a later version of the protocol", 429: "too often", 431: "the head is too long",
    503: "later",
}  # fmt: skip
COMMON = (400, 401, 429, 503)


def _object(required=True, **properties):
    out = {"type": "object", "properties": properties}
    if required:
        out["required"] = list(properties)
    return out


def _list(items):
    return {"type": "array", "items": items}


def _null(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name):
    return {"$ref": "#/components/schemas/" + name}


VERSION = {
    "pos": INT, "kind": STR, "key": STR, "deleted": BOOL, "role": STR, "counts": BOOL,
    "stamp": INT, "no_time": BOOL, "received_ms": INT, "rev": INT, "parent": INT, "device": STR,
    "epoch": INT, "life": INT, "seq": INT, "content_id": INT, "blobs": _list(STR),
}  # fmt: skip
CONFLICT = {"kind": STR, "key": STR, "pos": INT, "shown_pos": INT, "properties": _list(STR),
            "resolved_ms": _null(INT)}  # fmt: skip
DEVICE = {
    "device": STR, "owner": STR, "name": STR, "handset": STR, "created_ms": INT,
    "revoked_ms": _null(INT), "seen_ms": _null(INT),
    "streams": _list(_object(epoch=INT, life=INT, ack=INT, last_seq=INT, cursor=INT,
                             offsite=INT)),
}  # fmt: skip
HEAD = {"pos": INT, "kind": STR, "key": STR, "deleted": BOOL, "stamp": INT}
SCHEMAS = {
    "Error": {
        "type": "object",
        "properties": {"class": STR, "message": {"type": "string", "maxLength": 200},
                       "wait_s": INT, "have": INT},
        "required": ["class", "message"],
    },
    "Version": _object(**VERSION),
    "Head": _object(**HEAD),
    "Conflict": _object(**CONFLICT),
    "Device": _object(**DEVICE),
}  # fmt: skip

KINDS = ["contact", "event", "todo", "note", "photo", "calendar"]
PATH = {
    "name": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "device": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    "kind": {"type": "string", "enum": KINDS},
    "key": {"type": "string", "pattern": "^[A-Za-z0-9_-]{2,267}$"},
}
POSITION = {"type": "integer", "minimum": 0, "maximum": 1 << 62}
LIMIT = {"type": "integer", "minimum": 1, "maximum": 500}
FLAG = {"type": "string", "enum": ["0", "1"]}
PLACE = {"type": "integer", "minimum": 0, "maximum": 9_999_999_999}
AFTER = {"type": "string", "pattern": r"^[1-6]\.[A-Za-z0-9_-]{2,267}$"}


def description():
    """The whole description, as JSON takes it."""
    paths = {}
    for method, path, operation in _operations():
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drybag hub", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "device": {"type": "http", "scheme": "bearer"},
                "owner": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operations():
    binary = {"application/octet-stream": {"schema": {}}}
    have = _object(have=INT, complete=BOOL)
    yield "post", "/v1/sync", _operation(
        "A sync request and its reply, SPEC.md section 6", security="device", body=binary,
        answers={200: None}, errors=(403, 408, 413, 426),
    )  # fmt: skip
    yield "put", "/v1/blobs/{name}", _operation(
        "Bytes of a blob, from `offset` on", security="device", body=binary, path=("name",),
        query={"size": (PLACE, True), "offset": (PLACE, True)}, answers={200: have},
        errors=(403, 404, 408, 409, 413, 422),
    )  # fmt: skip
    for security, path in (("device", "/v1/blobs/{name}"), ("owner", "/v1/owner/blobs/{name}")):
        yield "get", path, _operation(
            "A blob; `Range: bytes=O-` for its rest", security=security, path=("name",),
            answers={200: binary, 206: binary}, errors=(403, 404, 416),
        )  # fmt: skip
    which = _object(hub=STR, version=INT)
    yield "get", "/v1/health", _operation("Which hub", answers={200: which})
    yield "get", "/v1/ca.pem", _operation(
        "The certificate of the hub's own authority; compare its fingerprint",
        answers={200: {"application/x-pem-file": {"schema": STR}}},
    )  # fmt: skip
    yield "get", "/openapi.json", _operation("This", answers={200: {"type": "object"}})
    yield from _owner_operations()
    yield from _record_operations()


def _owner_operations():
    login = _object(owner={"type": "string", "maxLength": 300},
                    password={"type": "string", "maxLength": 300})  # fmt: skip
    yield "post", "/v1/owner/login", _operation(
        "A token, good for twelve hours", json=login,
        answers={200: _object(token=STR, expires_s=INT, hub=STR)}, errors=(401, 408, 413),
    )  # fmt: skip
    yield "get", "/v1/owner/summary", _owner("What is here", {200: _object(
        hub=STR, owner=STR, pos=INT, live=INT, held=INT, conflicts=INT,
        counts={"type": "object", "additionalProperties": INT},
    )})  # fmt: skip
    yield "get", "/v1/owner/devices", _owner(
        "The owner's devices", {200: _object(devices=_list(_ref("Device")))}
    )
    enrol = _object(False, name={"type": "string", "maxLength": 300},
                    handset={"type": "string", "maxLength": 300})  # fmt: skip
    enrol["required"] = ["name"]
    yield "post", "/v1/owner/devices", _owner(
        "Enrol a device; its secret is told this once",
        {201: _object(device=STR, secret=STR, owner=STR, ca=STR)}, json=enrol,
    )  # fmt: skip
    one = {"path": ("device",), "errors": (404,)}
    yield "get", "/v1/owner/devices/{device}", _owner("One", {200: _ref("Device")}, **one)
    yield "post", "/v1/owner/devices/{device}/revoke", _owner(
        "Take its access away; its records are untouched", {200: _ref("Device")}, **one
    )
    yield "get", "/v1/owner/conflicts", _owner(
        "Versions that are not shown, and were not looked at",
        {200: _object(conflicts=_list(_ref("Conflict")))},
    )  # fmt: skip
    yield "get", "/v1/owner/held", _owner(
        "Deletions that wait for the owner",
        {200: _object(held=_list(_object(pos=INT, kind=STR, key=STR)))},
    )  # fmt: skip
    decide = _object(False, accept=BOOL, positions=_list(POSITION))
    decide["required"] = ["accept"]
    yield "post", "/v1/owner/held", _owner(
        "Accept or refuse them, all or some", {200: _object(decided=INT)}, json=decide,
        errors=(404,),
    )  # fmt: skip


def _record_operations():
    record = "/v1/owner/records/{kind}/{key}"
    yield "get", "/v1/owner/records", _owner(
        "A page of records, by kind and uid",
        {200: _object(records=_list(_ref("Head")), next=_null(STR))},
        query={"kind": (PATH["kind"], False), "after": (AFTER, False), "limit": (LIMIT, False),
               "bodies": (FLAG, False), "deleted": (FLAG, False)},
    )  # fmt: skip
    one = {"path": ("kind", "key")}
    yield "get", record, _owner("One record", {200: _ref("Version")}, errors=(404,), **one)
    yield "get", record + "/history", _owner(
        "Its versions, newest first",
        {200: _object(versions=_list(_ref("Version")), next=_null(INT))}, errors=(404,),
        query={"before": (POSITION, False), "limit": (LIMIT, False)}, **one,
    )  # fmt: skip
    restore = _object(False, pos=POSITION)
    yield "post", record + "/restore", _owner(
        "Show an older version again; without `pos`: undelete", {200: _object(pos=INT)},
        json=restore, errors=(404,), **one,
    )  # fmt: skip
    resolve = _object(False, pos=POSITION, show=BOOL)
    resolve["required"] = ["pos"]
    yield "post", record + "/resolve", _owner(
        "A conflict is done with; `show`: show the version that was not shown",
        {200: _object(pos=INT)}, json=resolve, errors=(404,), **one,
    )  # fmt: skip


def _owner(summary, answers, **how):
    return _operation(summary, security="owner", answers=answers, **how)


def _operation(summary, *, answers, security=None, path=(), query=None, body=None, json=None,
               errors=()):  # fmt: skip
    operation = {"summary": summary, "responses": {}}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": PATH[name]} for name in path
    ]
    for name, (schema, required) in (query or {}).items():
        parameters.append({"name": name, "in": "query", "required": required, "schema": schema})
    if parameters:
        operation["parameters"] = parameters
    if security:
        operation["security"] = [{security: []}]
    content = body or ({"application/json": {"schema": json}} if json else None)
    if content:
        operation["requestBody"] = {"required": True, "content": content}
        errors = (*errors, 408, 413)
    for status, schema in answers.items():
        answer = {"description": "as asked for"}
        if schema and any("/" in name for name in schema):
            answer["content"] = schema
        elif schema:
            answer["content"] = {"application/json": {"schema": schema}}
        operation["responses"][str(status)] = answer
    codes = (*errors, *(COMMON if security or json else ()), 405)
    for status in sorted(set(codes)):
        operation["responses"][str(status)] = {
            "description": ERRORS[status],
            "content": {"application/json": {"schema": _ref("Error")}},
        }
    return operation
