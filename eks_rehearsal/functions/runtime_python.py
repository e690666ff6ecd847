"""Calls one Python handler as Lambda does: the event on standard input, the answer in the file that it is told."""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path


class LambdaContext:
    """What a handler may ask of its invocation."""

    def __init__(self) -> None:
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.invoked_function_arn = os.environ["REHEARSAL_FUNCTION_ARN"]
        self.aws_request_id = os.environ["REHEARSAL_REQUEST_ID"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.function_version = "$LATEST"
        self._deadline = time.monotonic() + float(os.environ["REHEARSAL_TIMEOUT_SECONDS"])

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self._deadline - time.monotonic()))


def main() -> None:
    """Call the handler on what standard input says."""
    event = json.load(sys.stdin)
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
        answer = json.dumps({"payload": handler(event, LambdaContext())})
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
        traceback.print_exc()
        shown = {
            "errorMessage": str(error),
            "errorType": type(error).__name__,
            "stackTrace": traceback.format_exc().splitlines(),
        }
        answer = json.dumps({"payload": shown, "error": "Unhandled"})
    Path(os.environ["REHEARSAL_ANSWER"]).write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    main()
