"""What `check-api` knows and the document cannot say: how a caller signs in, and which values exist. Without them hardly a
request would get past the checks of its fields. Read by schemathesis."""

import base64
import hashlib
import hmac
import os
import re
import time
import uuid
from pathlib import Path

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

URL = os.environ["CHECK_API_URL"]
PASSWORD = os.environ["CHECK_API_PASSWORD"]
# The owners of the two demo tenants.
LASTING, PASSING = "owner@grace-chapel.example", "owner@hope-fellowship.example"
# An operator of the dev instance; the second one is made below.
OPERATOR, PASSING_OPERATOR = "operator@narthex.example", "passing@narthex.example"
# At most twenty tenants are registered, because each has a database.
ADDRESSES = [*[PASSING] * 10, *(f"owner{n}@example.org" for n in range(20))]

# For each security scheme of the document: where its callers sign in; who does; and who does for the calls below
# `/auth/`, which end sessions.
CALLERS = {
    "token": ("/v1/auth/login", LASTING, PASSING),
    "operator": ("/v1/admin/auth/login", OPERATOR, PASSING_OPERATOR),
}

# By name of a field or parameter. A new password is the old one, so that the account stays open.
KNOWN = {
    "code": ["not_found", "validation_failed"],
    "current_password": [PASSWORD],
    "email": ADDRESSES,
    "first_name": ["Grace"],
    "last_name": ["Hopper"],
    "name": ["North", "South"],
    "new_password": [PASSWORD],
    "organization_name": ["Grace Chapel"],
    "password": [PASSWORD],
    "phone_number": [f"+1312555{n:04}" for n in range(200, 220)],
    "slug": [None],
    "status": ["open", "closed"],
    "tags": [[], ["choir"]],
    "tenant": [None],
    "timezone": [None, "America/Chicago"],
}
EVENTS = ["user.created", "organization.created", "organizationMembership.deleted", "session.created"]


def sign_in(path, email):
    """Signs in, and proves once more who it is: without that, some calls answer 403 to everybody."""
    answer = requests.post(URL + path, json={"email": email, "password": PASSWORD}, timeout=30)
    answer.raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    proof = path.replace("/login", "/step-up")
    requests.post(URL + proof, json={"password": PASSWORD}, headers=headers, timeout=30).raise_for_status()
    return answer.json()


def caller(context):
    """The first scheme of the operation for which somebody can sign in."""
    asked = context.operation.definition.raw.get("security", [])
    return next((CALLERS[name] for scheme in asked for name in scheme if name in CALLERS), None)


def prepare_operators():
    """Makes the second operator. Returns the ids of all that the other calls stand on."""
    token = sign_in("/v1/admin/auth/login", OPERATOR)["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    new = {"email": PASSING_OPERATOR, "name": "Passing", "role": "admin", "password": PASSWORD}
    requests.post(URL + "/v1/admin/operators", json=new, headers=headers, timeout=30)
    ids = set()
    for path in ("tenants", "operators", "servers"):
        answer = requests.get(f"{URL}/v1/admin/{path}", headers=headers, timeout=30)
        answer.raise_for_status()
        ids.update(row["id"] for row in answer.json()["data"])
    return ids


# Suspended, disabled or drained, nothing would work after them.
UNTOUCHABLE = prepare_operators()


def ends_sessions(context):
    return "/auth/" in context.operation.path


class Bearer:
    def get(self, case, context):
        path, lasting, passing = caller(context)
        return sign_in(path, passing if ends_sessions(context) else lasting)["access_token"]

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"


if not os.environ.get("CHECK_API_ANONYMOUS"):

    @schemathesis.auth(cache_by_key=lambda _, context: caller(context)[0]).apply_to(
        lambda context: caller(context) and not ends_sessions(context)
    )
    class OfManyCalls(Bearer):
        pass

    @schemathesis.auth(refresh_interval=None).apply_to(
        lambda context: caller(context) and ends_sessions(context)
    )
    class OfOneCall(Bearer):
        pass


def letters():
    """The tokens of the last letters: the dev instance writes its mail to its log."""
    log = Path(os.environ["CHECK_API_LOG"]).read_text(errors="replace")
    return re.findall(r"\?token=([\w-]+)$", log, re.MULTILINE)[-8:]


def known(name, path):
    # The address is confirmed by its letter: another one would be the caller's from then on.
    if path.endswith("/email/change") and name == "email":
        return [PASSING]
    if name == "token":
        return letters()
    if name == "refresh_token":
        return [sign_in("/v1/auth/login", PASSING)["refresh_token"]]
    return KNOWN.get(name)


@schemathesis.hook
def flatmap_case(context, case):
    """Half of the valid requests of the fuzzer carry known values wherever there are some, the others none."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return st.just(case)

    def fill(choice):
        # A place and not a value is drawn: when the request is repeated there can be other values.
        is_known, place = choice
        parts = [case.path_parameters, case.query, case.body] if is_known else []
        for part in parts:
            for name in part if isinstance(part, dict) else []:
                if values := known(name, case.operation.path):
                    part[name] = values[place % len(values)]
        if is_known and case.operation.path == "/webhooks/clerk":
            case.body |= {"type": EVENTS[place % len(EVENTS)], "data": {"id": f"id_{place}"}}
        return case

    return st.tuples(st.booleans(), st.integers(0, 999)).map(fill)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.path == "/webhooks/clerk":
        kwargs["auth"] = sign_as_clerk
    named = (case.path_parameters or {}).get("id")
    if "/admin/" in case.operation.path and case.operation.method != "get" and str(named) in UNTOUCHABLE:
        case.path_parameters["id"] = str(uuid.uuid4())
    # From then on nothing else would be open to anybody.
    if isinstance(case.body, dict) and case.body.get("mfa_required") is True:
        case.body["mfa_required"] = False
    if case.operation.path == "/v1/tenant/public":
        case.headers["Host"] = "grace-chapel.example.test"


def sign_as_clerk(request):
    """Signs what will really be sent, as Svix does."""
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    delivery, now = f"msg_{time.time_ns()}", str(int(time.time()))
    secret = base64.b64decode(os.environ["CHECK_API_CLERK_SECRET"].removeprefix("whsec_"))
    tag = hmac.digest(secret, b".".join([delivery.encode(), now.encode(), body]), hashlib.sha256)
    request.headers["svix-id"] = delivery
    request.headers["svix-timestamp"] = now
    request.headers["svix-signature"] = "v1," + base64.b64encode(tag).decode()
    return request
