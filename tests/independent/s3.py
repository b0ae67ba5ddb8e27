"""Storage that speaks S3, by moto: prints the port once a bucket named `evidence` is there, and ends with its input."""

import sys

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id="who",
    aws_secret_access_key="secret",
).create_bucket(Bucket="evidence")
print(port, flush=True)
sys.stdin.read()
server.stop()
