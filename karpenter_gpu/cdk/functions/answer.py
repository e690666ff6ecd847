"""The answer that CloudFormation waits for."""

import json
import urllib.request


def answer(event, context, why, *, name):
    """Put the answer where CloudFormation waits for it.

    Args:
        why: Why the request failed; empty when it did not.

        name: What the resource is called, once it is there.
    """
    body = {
        "Status": "FAILED" if why else "SUCCESS",
        # CloudFormation takes a body of 4 KB.
        "Reason": why[:3000] or f"see the log stream {context.log_stream_name}",
        "PhysicalResourceId": event.get("PhysicalResourceId") or name,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    print(json.dumps({"status": body["Status"], "reason": body["Reason"]}))
    request = urllib.request.Request(
        event["ResponseURL"], data=json.dumps(body).encode(), method="PUT", headers={"Content-Type": ""}
    )
    urllib.request.urlopen(request, timeout=30).close()
