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

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.invoked_function_arn = os.environ["REHEARSAL_FUNCTION_ARN"]
        self.aws_request_id = os.environ["REHEARSAL_REQUEST_ID"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.function_version = "$LATEST"
        self._began = time.monotonic()

    def get_remaining_time_in_millis(self) -> int:
        left = float(os.environ["REHEARSAL_TIMEOUT_SECONDS"]) - self._speed * (time.monotonic() - self._began)
        return int(1000 * left)


def hasten() -> float:
    """Let `time.time` and `time.sleep` run as fast as the rehearsal says, from the moment that it says; how fast."""
    since, speed = map(float, os.environ["REHEARSAL_CLOCK"].split())
    now, sleep = time.time, time.sleep
    time.time = lambda: since + speed * (now() - since)
    time.sleep = lambda seconds: sleep(float(seconds) / speed)
    return speed


def main() -> None:
    """Call the handler on what standard input says."""
    event, speed = json.load(sys.stdin), hasten()
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
        answer = json.dumps({"payload": handler(event, LambdaContext(speed))})
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
