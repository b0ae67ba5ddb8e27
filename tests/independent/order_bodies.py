"""Checks recorded requests against an OpenAPI document, with openapi-core.

usage: order_bodies.py DOCUMENT HOST RECORDED
RECORDED has a JSON object on each line: method, path, query (pairs), headers (pairs), body. HOST is where they went.
Prints how many were checked; ends with 1 and says which line is wrong where one is.
"""

import json
import sys

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest


def why(error):
    said = [f"{type(error).__name__}: {error}"]
    said += [str(one.message) for one in getattr(error, "schema_errors", [])]
    return said + (why(error.__cause__) if error.__cause__ else [])


def main(document, host, recorded):
    # A document with a wrong default in it says still what a request has to be.
    openapi = OpenAPI.from_file_path(document, config=Config(spec_validator_cls=None))
    wrong = count = 0
    for number, line in enumerate(open(recorded, encoding="utf-8"), 1):
        one = json.loads(line)
        headers = dict(one["headers"])
        request = MockRequest(
            host,
            one["method"].lower(),
            one["path"],
            args=one["query"],
            headers=headers,
            data=one["body"].encode() or None,
            content_type=headers.get("content-type", "application/json"),
        )
        count += 1
        try:
            openapi.validate_request(request)
        except OpenAPIError as error:
            wrong += 1
            print(f"line {number}: {one['method']} {one['path']}: {'; '.join(why(error))}")
    print(f"{count} requests checked, {wrong} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
