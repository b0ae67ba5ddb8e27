"""Hands in a usage file with the platform's own client, and reads back what others handed in.

connect_sdk.py URL KEY PRODUCT CONTRACT WORKBOOK
"""

import sys

from connect.client import ClientError, ConnectClient

url, key, product, contract, workbook = sys.argv[1:]
client = ConnectClient(f"ApiKey {key}", endpoint=url, use_specs=False)
files = client.ns("usage").files

made = files.create(
    payload={
        "name": "independent",
        "description": "by the platform's own client",
        "period": {"from": "2026-10-01", "to": "2026-10-31"},
        "currency": "EUR",
        "product": {"id": product},
        "contract": {"id": contract},
        "external_id": "independent",
    }
)
one = files[made["id"]]
with open(workbook, "rb") as opened:
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    one.action("upload").post(files={"usage_file": ("usage.xlsx", opened, content_type)})
seen = [one.get()["status"], one.get()["status"]]
one.action("submit").post()
seen += [one.get()["status"] for _ in range(3)]
assert seen == ["processing", "ready", "pending", "accepted", "closed"], seen

found = files.filter(external_id="independent")
assert [file["id"] for file in found] == [made["id"]], "found by its external id"
try:
    one.action("submit").post()
    raise SystemExit("a closed usage file was submitted")
except ClientError as refused:
    assert refused.status_code == 400, refused

assets = client.assets.filter(product__id=product)
print(f"{files.all().count()} usage files, {assets.count()} assets")
