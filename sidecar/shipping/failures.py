"""What a bucket's failure means, in words that may be shown.

Built from the status, the store's error code and the system's words alone:
the library's whole text may hold signed URLs, keys and what the store echoes.
"""

from __future__ import annotations

import re

_HTTP_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>|\(code: ([A-Za-z]{1,60})\)")
_SYSTEM = re.compile(r'message: "([A-Za-z ]{1,80})"')
_QUOTED = re.compile(r"https?://[^\s,]+|path: \"[^\"]*\"")
_METADATA = re.compile(r"169\.254\.16|metadata\.google|/latest/api/token|/metadata/identity")
_TOKEN_REQUEST = re.compile(r"performing token request|Error performing POST REDACTED|WebIdentity")

_REMEDIES = {
    "AccessDenied": "grant the rights that docs/stores.md names",
    "AuthorizationFailure": "grant the rights that docs/stores.md names",
    "AuthorizationPermissionMismatch": "grant the rights that docs/stores.md names",
    "AuthenticationFailed": "check the account's key or token, and this machine's clock",
    "InvalidAccessKeyId": "check the access key",
    "SignatureDoesNotMatch": "check the secret key, and that no proxy rewrites requests",
    "ExpiredToken": "renew the credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "NoSuchBucket": "create the bucket or correct its name",
    "ContainerNotFound": "create the container or correct its name",
    "PermanentRedirect": "set the bucket's region",
    "AuthorizationHeaderMalformed": "set the bucket's region",
    "SlowDown": "it asks for fewer requests; larger batches help",
}
_STATUS_REMEDIES = {
    "301": "set the bucket's region",
    "401": "check the credentials",
    "403": "check the credentials and what they may do, see docs/stores.md",
    "404": "create the bucket or correct its name",
    "407": "give the proxy's user name and password in its address",
    "413": "make batches smaller",
    "429": "it asks for fewer requests; larger batches help",
    "507": "give the store more space",
}
_TRANSPORT = {
    ("timedout", "kind: timeout"): "no answer in time: check the network, or give store_timeout more",
    ("peer certificate", "unknownissuer"): "its certificate is not trusted: give its authority with store_ca",
    ("invalidcontenttype",): "what answers there does not speak TLS: correct the port, or write http://",
    ("dns error", "failed to lookup"): "its name cannot be resolved: check the address and the DNS",
    ("missingaccount",): (
        "no storage account: set AZURE_STORAGE_ACCOUNT_NAME, or write "
        "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net"
    ),
    ("credential", "token"): "its credentials cannot be read: docs/stores.md names the variables and files",
    ("incompletemessage",): "it closed the connection before it answered",
    ("badscheme",): "its endpoint is plain http:// and was not given as store_endpoint",
    ("bareredirect",): "it sent the request elsewhere: set the bucket's region",
    ("missingetag",): "its answer is not that of an object store",
}


def reason(error: BaseException) -> str:
    """What went wrong with an obstore call, and the remedy, on one line."""
    text = str(error)
    if _METADATA.search(text):
        return "no credentials: none in the environment, and the platform's metadata service gave none"
    status = _HTTP_STATUS.search(text)
    if _TOKEN_REQUEST.search(text):
        said = f"answered {status[1]}" if status else f"does not answer: {_transport(text)}"
        return f"the service that gives its credentials {said}"
    code = _CODE.search(text)
    if status is not None:
        name = (code[1] or code[2]) if code else ""
        remedy = _REMEDIES.get(name) or _STATUS_REMEDIES.get(status[1], "")
        said = f"it answered {status[1]}" + (f" {name}" if name else "")
        return f"{said}: {remedy}" if remedy else said
    if code is not None:
        name = code[1] or code[2]
        return f"it answered {name}" + (f": {_REMEDIES[name]}" if name in _REMEDIES else "")
    return _transport(text)


def _transport(text: str) -> str:
    """For what never became an answer: told from the debug text without addresses and paths."""
    low = _QUOTED.sub("", text.rpartition("Debug source:")[2]).lower()
    for signs, words in _TRANSPORT.items():
        if any(sign in low for sign in signs):
            return words
    system = _SYSTEM.search(text)
    if system is None:
        return "the request could not be sent"
    said = system[1].lower()
    return (
        f"{said}: check its address, and HTTPS_PROXY if there is one" if "tcp connect error" in low else said
    )
